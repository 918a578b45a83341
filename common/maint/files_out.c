/* Messages into files: Maildir++ (flags in the names) or one mbox a mailbox (Status fields). */
#include "common/base/mem.h"
#include "common/mail/mutf7.h"
#include "common/maint/maint.h"
#include "common/maint/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PATH_BYTES 4096

struct output {
	const char *path;
	bool is_mbox;
	uint64_t written;
	char mailbox[STORE_NAME_MAX + 1]; /* of the open file or folder */
	FILE *f;                          /* mbox: the mailbox's; Maildir: the message's */
	char temp[PATH_BYTES], final[PATH_BYTES];
	long begin; /* mbox: where the message began */
	bool at_line_start, was_cr, in_head;
	int match; /* letters of "From " held back; -1: not at the start of a line */
	uint32_t flags;
	struct err err;
};

static int make_folder(struct output *o, const char *path)
{
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_errno(&o->err, errno, "%s", path);
	return 0;
}

/* A mailbox's name as a file name: '.' between levels, modified UTF-7, and no '/'. */
static bool file_name(const char *mailbox, char out[STORE_NAME_MAX * 3])
{
	struct strbuf b;
	bool is_good;

	strbuf_init(&b, STORE_NAME_MAX * 3 - 1);
	is_good = mail_mutf7_from_utf8(&b, span_of(mailbox));
	for (size_t i = 0; i < b.n; i++)
		if (b.p[i] == '/')
			b.p[i] = '.';
	if (is_good)
		memcpy(out, b.p, b.n + 1);
	strbuf_clear(&b);
	return is_good;
}

/* --- mbox
 * ---------------------------------------------------------------------------------------------- */
static int mbox_begin(struct output *o, const struct letter *l)
{
	char name[STORE_NAME_MAX * 3];
	time_t when = (time_t)l->date;
	struct tm tm;
	char date[64];

	if (!o->f || strcmp(o->mailbox, l->mailbox) != 0) {
		if (o->f && fclose(o->f) != 0)
			return err_errno(&o->err, errno, "%s", o->final);
		o->f = NULL;
		if (!file_name(l->mailbox, name) ||
		    snprintf(o->final, sizeof(o->final), "%s/%s.mbox", o->path, name) >=
			(int)sizeof(o->final))
			return err_set(&o->err, ERR_INVALID, "%s: no file name", l->mailbox);
		o->f = fopen(o->final, "wxe");
		if (!o->f)
			return err_errno(&o->err, errno, "%s", o->final);
		memcpy(o->mailbox, l->mailbox, sizeof(o->mailbox));
	}
	if (!gmtime_r(&when, &tm) || strftime(date, sizeof(date), "%a %b %e %H:%M:%S %Y", &tm) == 0)
		snprintf(date, sizeof(date), "Thu Jan  1 00:00:00 1970");
	o->begin = ftell(o->f);
	fprintf(o->f, "From mailstead %s\n", date);
	return 0;
}

static void put_status(struct output *o)
{
	fprintf(o->f, "Status: %sO\n", o->flags & FLAG_SEEN ? "R" : "");
	if (o->flags & FLAGS_ALL & ~FLAG_SEEN)
		fprintf(o->f, "X-Status: %s%s%s%s\n", o->flags & FLAG_ANSWERED ? "A" : "",
		    o->flags & FLAG_FLAGGED ? "F" : "", o->flags & FLAG_DELETED ? "D" : "",
		    o->flags & FLAG_DRAFT ? "T" : "");
}

/* --- Maildir
 * -------------------------------------------------------------------------------------------- */
static int maildir_folder(struct output *o, const struct letter *l, char *folder, size_t cap)
{
	static const char *const parts[] = {"", "/cur", "/new", "/tmp"};
	char name[STORE_NAME_MAX * 3];
	size_t n;

	if (strcmp(l->mailbox, "INBOX") == 0)
		n = (size_t)snprintf(folder, cap, "%s", o->path);
	else if (file_name(l->mailbox, name))
		n = (size_t)snprintf(folder, cap, "%s/.%s", o->path, name);
	else
		return err_set(&o->err, ERR_INVALID, "%s: no folder name", l->mailbox);
	if (n + 64 >= cap)
		return err_set(&o->err, ERR_INVALID, "%s: path too long", l->mailbox);
	if (strcmp(o->mailbox, l->mailbox) == 0)
		return 0;
	memcpy(o->mailbox, l->mailbox, sizeof(o->mailbox));
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		char below[PATH_BYTES];

		snprintf(below, sizeof(below), "%s%s", folder, parts[i]);
		if (make_folder(o, below) < 0)
			return -1;
	}
	return 0;
}

static int maildir_begin(struct output *o, const struct letter *l)
{
	char folder[PATH_BYTES - 128];

	if (maildir_folder(o, l, folder, sizeof(folder)) < 0)
		return -1;
	snprintf(o->temp, sizeof(o->temp), "%s/tmp/%lld.%llu.mailstead", folder, (long long)l->date,
	    (unsigned long long)o->written);
	snprintf(o->final, sizeof(o->final), "%s/cur/%lld.%llu.mailstead:2,%s%s%s%s%s", folder,
	    (long long)l->date, (unsigned long long)o->written, l->flags & FLAG_DRAFT ? "D" : "",
	    l->flags & FLAG_FLAGGED ? "F" : "", l->flags & FLAG_ANSWERED ? "R" : "",
	    l->flags & FLAG_SEEN ? "S" : "", l->flags & FLAG_DELETED ? "T" : "");
	o->f = fopen(o->temp, "wxe");
	return o->f ? 0 : err_errno(&o->err, errno, "%s", o->temp);
}

static int maildir_end(struct output *o, const struct letter *l, bool is_whole)
{
	const struct timespec times[2] = {{.tv_sec = (time_t)l->date}, {.tv_sec = (time_t)l->date}};
	int rc = 0;

	if (fflush(o->f) != 0 || futimens(fileno(o->f), times) < 0)
		rc = err_errno(&o->err, errno, "%s", o->temp);
	if (fclose(o->f) != 0 && rc == 0)
		rc = err_errno(&o->err, errno, "%s", o->temp);
	o->f = NULL;
	if (!is_whole || rc < 0)
		(void)unlink(o->temp);
	else if (rename(o->temp, o->final) < 0)
		rc = err_errno(&o->err, errno, "%s", o->final);
	return rc;
}

/* --- bytes
 * ------------------------------------------------------------------------------------------------
 */
static const char from_word[] = "From ";

/* The letters of "From " that were held back. */
static void release(struct output *o)
{
	if (o->match > 0)
		fwrite(from_word, 1, (size_t)o->match, o->f);
	o->match = -1;
}

/* One letter of a body in an mbox: "From " at the start of a line, behind any number of '>', gets
 * one more '>' (mboxrd), wherever pieces end. */
static void put_quoted(struct output *o, char c)
{
	if (o->match >= 0 && c == from_word[o->match]) {
		if (++o->match == (int)sizeof(from_word) - 1) {
			putc('>', o->f);
			release(o);
		}
		return;
	}
	if (o->match == 0 && c == '>') {
		putc(c, o->f);
		return;
	}
	release(o);
	putc(c, o->f);
	if (c == '\n')
		o->match = 0;
}

static void put_chr(struct output *o, char c)
{
	if (o->is_mbox && !o->in_head) {
		put_quoted(o, c);
	} else if (o->is_mbox && o->at_line_start && c == '\n') {
		put_status(o);
		putc(c, o->f);
		o->in_head = false;
		o->match = 0;
	} else {
		putc(c, o->f);
	}
	o->at_line_start = c == '\n';
}

/* CRLF becomes LF, as files of a Unix have it. */
static void put_bytes(struct output *o, struct span bytes)
{
	for (size_t i = 0; i < bytes.n; i++) {
		char c = bytes.p[i];

		if (o->was_cr && c != '\n')
			put_chr(o, '\r');
		o->was_cr = c == '\r';
		if (!o->was_cr)
			put_chr(o, c);
	}
}

static int end_message(struct output *o, const struct letter *l, bool is_whole)
{
	if (o->was_cr)
		put_chr(o, '\r');
	if (o->is_mbox && !o->in_head)
		release(o);
	if (!o->is_mbox)
		return maildir_end(o, l, is_whole);
	if (!o->at_line_start)
		putc('\n', o->f);
	/* All head and no empty line: the fields go again when it is read, and nothing is added. */
	if (o->in_head)
		put_status(o);
	putc('\n', o->f);
	if (!is_whole && (fflush(o->f) != 0 || ftruncate(fileno(o->f), o->begin) < 0 ||
			     fseek(o->f, o->begin, SEEK_SET) != 0))
		return err_errno(&o->err, errno, "%s", o->final);
	return ferror(o->f) ? err_errno(&o->err, errno, "%s", o->final) : 0;
}

static int take_one(struct output *o, int fd, const struct letter *l)
{
	char *buf = mem_alloc(STREAM_PIECE_MAX);
	bool is_whole = false;
	size_t n;
	int rc;

	o->at_line_start = o->in_head = true;
	o->was_cr = false;
	o->match = -1;
	o->flags = l->flags;
	rc = o->is_mbox ? mbox_begin(o, l) : maildir_begin(o, l);
	while (rc == 0 && (rc = stream_get_bytes(fd, buf, &n, &is_whole, &o->err)) == 1) {
		put_bytes(o, span_make(buf, n));
		rc = 0;
	}
	mem_free(buf);
	if (rc == 0 && end_message(o, l, is_whole) < 0)
		rc = -1;
	o->written += rc == 0 && is_whole;
	return rc;
}

int files_take(struct maint *m, const char *path, bool is_mbox, int fd, uint64_t *taken)
{
	struct output o = {.path = path, .is_mbox = is_mbox};
	struct letter l;
	int rc;

	if (mkdir(path, 0700) < 0) {
		err_errno(&o.err, errno, "%s", path);
		return maint_fail(m, &o.err);
	}
	while ((rc = stream_get_head(fd, &l, &o.err)) == 1)
		if (take_one(&o, fd, &l) < 0) {
			rc = -1;
			break;
		}
	if (o.f && fclose(o.f) != 0 && rc == 0)
		rc = err_errno(&o.err, errno, "%s", o.final);
	*taken = o.written;
	return rc < 0 ? maint_fail(m, &o.err) : 0;
}
