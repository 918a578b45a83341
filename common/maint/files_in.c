/* Messages from files: mbox (one file, or a folder of NAME.mbox) and Maildir++. */
#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/mail/date.h"
#include "common/mail/mutf7.h"
#include "common/maint/maint.h"
#include "common/maint/stream.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 4096
#define LINE_MAX_BYTES (1024 * 1024) /* longer lines are handed on in pieces */

struct input {
	struct maint *m;
	int fd; /* out */
	uint64_t sent;
	struct err err;
};

/* Line ends become CRLF. at_start and was_cr go on from piece to piece. */
static int put_text(struct input *in, struct span text, bool *was_cr)
{
	struct strbuf b;
	int rc;

	strbuf_init(&b, 2 * text.n + 16);
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] == '\n' && !*was_cr)
			strbuf_add_chr(&b, '\r');
		strbuf_add_chr(&b, text.p[i]);
		*was_cr = text.p[i] == '\r';
	}
	rc = stream_put_bytes(in->fd, strbuf_span(&b), &in->err);
	strbuf_clear(&b);
	return rc;
}

/* --- mbox
 * --------------------------------------------------------------------------------------------- */
/* Flags as mail programs keep them in mbox files. */
static uint32_t status_flags(struct span value)
{
	static const struct {
		char letter;
		uint32_t flag;
	} letters[] = {{'R', FLAG_SEEN}, {'A', FLAG_ANSWERED}, {'F', FLAG_FLAGGED},
	    {'D', FLAG_DELETED}, {'T', FLAG_DRAFT}};
	uint32_t flags = 0;

	for (size_t i = 0; i < value.n; i++)
		for (size_t k = 0; k < ARRAY_LEN(letters); k++)
			if (value.p[i] == letters[k].letter)
				flags |= letters[k].flag;
	return flags;
}

struct mbox {
	struct input *in;
	FILE *f;
	char *line;
	size_t cap;
	struct letter letter;
	struct strbuf head; /* of the message at hand, until its empty line */
	bool is_open, in_head, was_empty, was_cr, has_blank;
};

/* Two digits, or a blank and one; false for anything else. */
static bool two_digits(struct span *s, char behind, int *out)
{
	uint64_t v;

	(void)span_take_chr(s, ' ');
	if (!span_take_u64(s, 99, &v) || !span_take_chr(s, behind))
		return false;
	*out = (int)v;
	return true;
}

/* "From somebody Thu Jan  1 00:00:00 1970": the time at its end, or now. */
static int64_t from_time(struct span line)
{
	static const struct span months = SPAN_INIT("JanFebMarAprMayJunJulAugSepOctNovDec");
	ssize_t at = span_chr(span_from(line, 5), ' ');
	int day, hour, minute, second;
	uint64_t year;
	ssize_t month;

	if (at < 0)
		return clock_now();
	line = span_trim(span_from(line, (size_t)at + 6));
	/* "Thu Jan " */
	month = line.n > 8 ? span_find(months, span_sub(line, 4, 3)) : -1;
	line = span_from(line, 8);
	if (month < 0 || month % 3 != 0 || !two_digits(&line, ' ', &day) ||
	    !two_digits(&line, ':', &hour) || !two_digits(&line, ':', &minute) ||
	    !two_digits(&line, ' ', &second) || !span_take_u64(&line, 9999, &year))
		return clock_now();
	return mail_days_from_civil((int64_t)year, (int)month / 3 + 1, day) * 86400 + hour * 3600 +
	       minute * 60 + second;
}

/* The head is known: flags out of Status and X-Status, which are the file's and not the message's.
 */
static int flush_head(struct mbox *b)
{
	struct span rest = strbuf_span(&b->head), line;
	struct strbuf kept;
	int rc;

	strbuf_init(&kept, b->head.n + 16);
	while (span_split(&rest, '\n', &line)) {
		if (!rest.p && line.n == 0)
			break;
		if (span_istarts(line, SPAN("Status:")) || span_istarts(line, SPAN("X-Status:"))) {
			b->letter.flags |=
			    status_flags(span_from(line, (size_t)span_chr(line, ':') + 1));
			continue;
		}
		strbuf_add(&kept, line);
		strbuf_add_chr(&kept, '\n');
	}
	b->in_head = false;
	b->was_cr = false;
	rc = stream_put_head(b->in->fd, &b->letter, &b->in->err);
	if (rc == 0)
		rc = put_text(b->in, strbuf_span(&kept), &b->was_cr);
	strbuf_clear(&kept);
	strbuf_reset(&b->head);
	return rc;
}

static int end_message(struct mbox *b)
{
	if (!b->is_open)
		return 0;
	if (b->in_head && flush_head(b) < 0)
		return -1;
	b->is_open = false;
	b->in->sent++;
	return stream_put_end(b->in->fd, true, &b->in->err);
}

static int begin_message(struct mbox *b, struct span line)
{
	if (end_message(b) < 0)
		return -1;
	b->letter.date = from_time(line);
	b->letter.flags = 0;
	b->is_open = b->in_head = true;
	b->has_blank = false;
	return 0;
}

/* mboxrd: one '>' goes from lines of any number of them and "From ". */
static struct span unquote(struct span line)
{
	size_t n = 0;

	while (n < line.n && line.p[n] == '>')
		n++;
	return n > 0 && span_starts(span_from(line, n), SPAN("From ")) ? span_from(line, 1) : line;
}

static int mbox_line(struct mbox *b, struct span line)
{
	bool is_empty = span_eq(line, SPAN("\n")) || span_eq(line, SPAN("\r\n"));

	if (span_starts(line, SPAN("From ")) && (!b->is_open || b->was_empty)) {
		b->was_empty = false;
		return begin_message(b, line);
	}
	if (!b->is_open)
		return is_empty ? 0
				: err_set(&b->in->err, ERR_INVALID,
				      "not an mbox file: it does not begin with \"From \"");
	b->was_empty = is_empty;
	if (b->in_head && is_empty) {
		/* The end of the head, unless "From " comes next. */
		b->has_blank = true;
		return flush_head(b);
	}
	if (b->in_head && b->head.n + line.n < LINE_MAX_BYTES)
		return strbuf_add(&b->head, line) ? 0 : -1;
	if (b->in_head && flush_head(b) < 0)
		return -1;
	/* The empty line before the next "From " is the file's, not the message's. */
	if (b->has_blank && put_text(b->in, SPAN("\n"), &b->was_cr) < 0)
		return -1;
	b->has_blank = is_empty;
	return is_empty ? 0 : put_text(b->in, unquote(line), &b->was_cr);
}

static int send_mbox(struct input *in, const char *path, const char *mailbox)
{
	struct mbox b = {.in = in, .f = fopen(path, "re"), .was_empty = true};
	ssize_t n;
	int rc = 0;

	if (!b.f)
		return err_errno(&in->err, errno, "%s", path);
	snprintf(b.letter.mailbox, sizeof(b.letter.mailbox), "%s", mailbox);
	strbuf_init(&b.head, LINE_MAX_BYTES * 2);
	while (rc == 0 && (n = getline(&b.line, &b.cap, b.f)) > 0)
		rc = mbox_line(&b, span_make(b.line, (size_t)n));
	if (rc == 0)
		rc = end_message(&b);
	free(b.line);
	strbuf_clear(&b.head);
	fclose(b.f);
	return rc < 0 ? err_wrap(&in->err, "%s", path) : 0;
}

/* --- Maildir
 * ------------------------------------------------------------------------------------------ */
static uint32_t maildir_flags(const char *name)
{
	const char *info = strstr(name, ":2,");
	uint32_t flags = 0;

	for (const char *c = info ? info + 3 : ""; *c; c++)
		flags |= *c == 'S'   ? FLAG_SEEN
			 : *c == 'R' ? FLAG_ANSWERED
			 : *c == 'F' ? FLAG_FLAGGED
			 : *c == 'T' ? FLAG_DELETED
			 : *c == 'D' ? FLAG_DRAFT
				     : 0;
	return flags;
}

static int send_file(struct input *in, int dir, const char *name, struct letter *l)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char buf[32768];
	bool was_cr = false;
	struct stat st;
	ssize_t n = 0;
	int rc;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	l->flags = maildir_flags(name);
	l->date = st.st_mtime;
	rc = stream_put_head(in->fd, l, &in->err);
	while (rc == 0 && (n = read(fd, buf, sizeof(buf))) > 0)
		rc = put_text(in, span_make(buf, (size_t)n), &was_cr);
	close(fd);
	if (rc == 0)
		rc = stream_put_end(in->fd, n == 0, &in->err);
	if (n < 0)
		fprintf(stderr, "%s: %s\n", name, strerror(errno));
	in->sent += n == 0;
	return rc;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int send_folder(struct input *in, const char *path, struct letter *l)
{
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent **names = NULL;
	int n = dir < 0 ? -1 : scandir(path, &names, NULL, by_name);
	int rc = 0;

	for (int i = 0; i < n; i++) {
		if (rc == 0 && names[i]->d_name[0] != '.')
			rc = send_file(in, dir, names[i]->d_name, l);
		free(names[i]);
	}
	free(names);
	if (dir >= 0)
		close(dir);
	return rc;
}

/* "Work.Done" is Work/Done; names are in modified UTF-7. */
static bool mailbox_name(struct span file, char out[STORE_NAME_MAX + 1])
{
	struct strbuf b;
	bool is_good;

	strbuf_init(&b, STORE_NAME_MAX);
	is_good = mail_mutf7_to_utf8(&b, file) && b.n > 0;
	if (!is_good) {
		strbuf_reset(&b);
		is_good = strbuf_add(&b, file) && b.n > 0;
	}
	for (size_t i = 0; i < b.n; i++)
		if (b.p[i] == '.')
			b.p[i] = '/';
	if (is_good)
		memcpy(out, b.p, b.n + 1);
	strbuf_clear(&b);
	return is_good;
}

static int send_maildir(struct input *in, const char *path, const char *mailbox)
{
	static const char *const parts[] = {"cur", "new"};
	struct letter l = {.flags = 0};
	char below[PATH_BYTES];
	int rc = 0;

	snprintf(l.mailbox, sizeof(l.mailbox), "%s", mailbox);
	for (size_t i = 0; rc == 0 && i < ARRAY_LEN(parts); i++)
		if (snprintf(below, sizeof(below), "%s/%s", path, parts[i]) < (int)sizeof(below))
			rc = send_folder(in, below, &l);
	maint_progress("%s: %llu", mailbox, (unsigned long long)in->sent);
	return rc;
}

/* --- what the path is
 * ----------------------------------------------------------------------------------- */
static bool is_folder(const char *path, const char *below)
{
	char full[PATH_BYTES];
	struct stat st;

	return snprintf(full, sizeof(full), "%s%s", path, below) < (int)sizeof(full) &&
	       stat(full, &st) == 0 && S_ISDIR(st.st_mode);
}

/* One entry of the folder: a subfolder of a Maildir, or NAME.mbox. */
static int send_entry(struct input *in, const char *path, const char *entry)
{
	size_t n = strlen(entry);
	char full[PATH_BYTES], name[STORE_NAME_MAX + 1];

	if (snprintf(full, sizeof(full), "%s/%s", path, entry) >= (int)sizeof(full))
		return 0;
	if (entry[0] == '.' && n > 1 && entry[1] != '.' && is_folder(full, "/cur") &&
	    mailbox_name(span_of(entry + 1), name))
		return send_maildir(in, full, name);
	if (span_ends(span_of(entry), SPAN(".mbox")) && mailbox_name(span_make(entry, n - 5), name))
		return send_mbox(in, full, name);
	return 0;
}

int files_send(struct maint *m, const char *path, struct span mailbox, int fd)
{
	struct input in = {.m = m, .fd = fd};
	char into[STORE_NAME_MAX + 1] = "INBOX";
	struct dirent **names = NULL;
	int n, rc = 0;

	if (mailbox.n > 0)
		snprintf(into, sizeof(into), "%.*s", SPAN_FMT(mailbox));
	if (!is_folder(path, ""))
		return send_mbox(&in, path, into) < 0 ? maint_fail(m, &in.err) : 0;
	if (is_folder(path, "/cur"))
		rc = send_maildir(&in, path, into);
	n = rc == 0 ? scandir(path, &names, NULL, by_name) : 0;
	for (int i = 0; i < n; i++) {
		if (rc == 0)
			rc = send_entry(&in, path, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	if (rc == 0 && in.sent == 0)
		rc = err_set(&in.err, ERR_NOT_FOUND,
		    "%s: neither an mbox file nor a Maildir nor a folder of NAME.mbox", path);
	return rc < 0 ? maint_fail(m, &in.err) : 0;
}
