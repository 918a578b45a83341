/* What goes with a command beside its words: a password, and files. */
#include "common/ctl/ctl.h"

#include "common/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define INTERRUPT '\003'

/* Somebody types it: asked for, and not shown. Ctrl-C comes as a character then, so that the
 * terminal is never left without an echo. */
static bool begin_typing(struct termios *before)
{
	struct termios quiet;

	if (!isatty(0) || tcgetattr(0, before) < 0)
		return false;
	quiet = *before;
	quiet.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
	(void)tcsetattr(0, TCSAFLUSH, &quiet);
	(void)!write(2, "Password: ", 10);
	return true;
}

static void end_typing(const struct termios *before)
{
	(void)tcsetattr(0, TCSAFLUSH, before);
	(void)!write(2, "\n", 1);
}

/* One line of standard input without its end, byte by byte: what follows may be a file. */
bool read_secret(struct strbuf *secret)
{
	struct termios before;
	bool is_typed = begin_typing(&before);
	char c = '\0';
	ssize_t n;

	while ((n = read(0, &c, 1)) == 1 && c != '\n' && !(is_typed && c == INTERRUPT))
		strbuf_add_chr(secret, c);
	if (is_typed)
		end_typing(&before);
	if (is_typed && n == 1 && c == INTERRUPT)
		return false;
	if (secret->n > 0 && secret->p[secret->n - 1] == '\r')
		strbuf_truncate(secret, secret->n - 1);
	return n >= 0 && !secret->failed && secret->n > 0;
}

static int read_all(int fd, const char *name, struct strbuf *content, struct err *err)
{
	char buf[16 * 1024];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, errno, "%s", name);
		if (!strbuf_add_mem(content, buf, (size_t)n))
			return err_set(
			    err, ERR_LIMIT, "%s: more than %zu bytes", name, content->max);
	}
	mem_wipe(buf, sizeof(buf));
	return 0;
}

int read_content(const char *path, struct strbuf *content, struct err *err)
{
	int fd, result;

	/* PEM texts that are joined need a line's end in between. */
	if (content->n > 0 && span_find(strbuf_span(content), SPAN("-----BEGIN ")) >= 0)
		strbuf_add_chr(content, '\n');
	if (strcmp(path, "-") == 0)
		return read_all(0, "standard input", content, err);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_errno(err, errno, "%s", path);
	result = read_all(fd, path, content, err);
	close(fd);
	return result;
}
