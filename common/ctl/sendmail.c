#include "common/ctl/sendmail.h"

#include "common/base/mem.h"

#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MAILNAME "/etc/mailname"

/* Options of sendmail that change nothing here but take a value, which is skipped. */
static const char with_value[] = "BhLNOopRVX";

static int refuse(const char *text)
{
	fprintf(stderr, "sendmail: %s\n", text);
	return SEND_USAGE;
}

static void keep(char **to, const char *value)
{
	mem_free(*to);
	*to = mem_strdup(value);
}

/* An option that takes a value, in the same word or the next one. NULL: it is missing. */
static const char *value_of(int argc, char **argv, int *i)
{
	if (argv[*i][2] != '\0')
		return argv[*i] + 2;
	return *i + 1 < argc ? argv[++*i] : NULL;
}

/* One word of the command line that begins with '-'. -1: go on; else the exit status. */
static int take_option(struct sendmail *s, int argc, char **argv, int *i)
{
	const char *word = argv[*i];
	const char *value;

	switch (word[1]) {
	case 't':
		s->has_list = true;
		return -1;
	case 'i':
		s->has_dots = true;
		return -1;
	case 'C':
	case 'f':
	case 'r':
	case 'F':
		value = value_of(argc, argv, i);
		if (!value)
			return refuse("an option lacks its value");
		if (word[1] == 'C')
			s->conf = value;
		else
			keep(word[1] == 'F' ? &s->full_name : &s->sender, value);
		return -1;
	case 'b':
		if (strcmp(word, "-bi") == 0)
			return SEND_OK; /* newaliases: they need no rebuilding */
		return strcmp(word, "-bm") == 0 ? -1
						: refuse("only -bm and -bi; mailq shows the queue");
	case 'q':
		return SEND_OK; /* the queue is always worked on */
	case 'o':
		s->has_dots = s->has_dots || strcmp(word, "-oi") == 0;
		break;
	default:
		break;
	}
	/* -o, -B and others stand alone when their value is in the same word. */
	if (word[1] != '\0' && strchr(with_value, word[1]) && word[2] == '\0')
		(*i)++;
	return -1;
}

/* -1: go on. */
static int parse(struct sendmail *s, int argc, char **argv, struct span *words, size_t *count)
{
	bool are_over = false;

	for (int i = 1; i < argc; i++) {
		if (!are_over && strcmp(argv[i], "--") == 0) {
			are_over = true;
		} else if (!are_over && argv[i][0] == '-') {
			int status = take_option(s, argc, argv, &i);

			if (status >= 0)
				return status;
		} else if (*count == SENDMAIL_RECIPIENTS) {
			return refuse("too many recipients");
		} else {
			words[(*count)++] = span_of(argv[i]);
		}
	}
	return -1;
}

static char *find_domain(const struct config *cfg)
{
	char text[256];
	int fd = open(MAILNAME, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));
	struct span rest = span_make(text, n > 0 ? (size_t)n : 0);
	struct span line;

	if (fd >= 0)
		close(fd);
	if (n > 0 && span_split(&rest, '\n', &line) && span_trim(line).n > 0) {
		line = span_trim(line);
		return mem_strndup(line.p, line.n);
	}
	return mem_strdup(config_str(cfg, SET_SERVER_HOSTNAME));
}

/* The envelope's sender: what -f says, or who runs this. */
static int find_sender(struct sendmail *s, struct err *err)
{
	const struct passwd *pw = getpwuid(getuid());
	struct span given = span_of(s->sender);
	char *sender;

	if (!s->full_name && pw && pw->pw_gecos) {
		s->full_name = mem_strdup(pw->pw_gecos);
		s->full_name[strcspn(s->full_name, ",")] = '\0';
	}
	if (given.n >= 2 && given.p[0] == '<' && given.p[given.n - 1] == '>')
		given = span_sub(given, 1, given.n - 2);
	if (s->sender && given.n == 0) {
		keep(&s->sender, "");
		return 0;
	}
	if (!s->sender && !pw)
		return err_set(err, ERR_NOT_FOUND, "uid %u has no name", (unsigned)getuid());
	sender = sendmail_qualify(s, s->sender ? given : span_of(pw->pw_name), err);
	if (!sender)
		return -1;
	mem_free(s->sender);
	s->sender = sender;
	return 0;
}

static int run(struct sendmail *s, const struct span *words, size_t count, struct err *err)
{
	if (config_load(s->conf ? s->conf : MS_CONF, &s->cfg, err) < 0)
		return SEND_CONFIG;
	s->domain = find_domain(s->cfg);
	strbuf_init(&s->message, (size_t)config_u64(s->cfg, SET_SMTP_MESSAGE_MAX));
	if (find_sender(s, err) < 0)
		return SEND_NO_USER;
	for (size_t i = 0; i < count; i++)
		if (sendmail_add_recipient(s, words[i], err) < 0)
			return SEND_NO_USER;
	if (sendmail_read(s, 0, err) < 0 || sendmail_complete(s, err) < 0)
		return SEND_DATA;
	if (s->count == 0) {
		err_set(err, ERR_INVALID, "no recipients");
		return SEND_USAGE;
	}
	return sendmail_send(s, err);
}

int ctl_sendmail(int argc, char **argv)
{
	static struct sendmail s;
	static struct span words[SENDMAIL_RECIPIENTS];
	struct err err = ERR_INIT;
	size_t count = 0;
	int status = parse(&s, argc, argv, words, &count);

	if (status < 0) {
		status = run(&s, words, count, &err);
		if (status != SEND_OK && err.text[0])
			fprintf(stderr, "sendmail: %s\n", err.text);
	}
	strbuf_clear(&s.message);
	for (size_t i = 0; i < s.count; i++)
		mem_free(s.recipients[i]);
	mem_free(s.domain);
	mem_free(s.sender);
	mem_free(s.full_name);
	config_unref(s.cfg);
	return status;
}
