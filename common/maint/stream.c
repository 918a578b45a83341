#include "common/maint/stream.h"

#include "common/base/codec.h"

#include <errno.h>
#include <unistd.h>

#define HEAD_MAX (STORE_NAME_MAX + LETTER_KEYWORDS_MAX + 64)
#define MARK_HEAD 1u
#define MARK_BYTES 2u
#define MARK_WHOLE 3u
#define MARK_BROKEN 4u

static int put_all(int fd, const void *p, size_t n, struct err *err)
{
	const char *at = p;

	while (n > 0) {
		ssize_t w = write(fd, at, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return err_errno(err, errno, "handing on a message");
		at += w;
		n -= (size_t)w;
	}
	return 0;
}

/* 1, 0 at the end before the first byte, -1. */
static int get_all(int fd, void *p, size_t n, struct err *err)
{
	char *at = p;
	size_t got = 0;

	while (got < n) {
		ssize_t r = read(fd, at + got, n - got);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return err_errno(err, errno, "taking a message");
		if (r == 0)
			return got == 0 ? 0 : err_set(err, ERR_CLOSED, "a message was cut short");
		got += (size_t)r;
	}
	return 1;
}

static int put_frame(int fd, unsigned mark, struct span body, struct err *err)
{
	unsigned char head[5];

	head[0] = (unsigned char)mark;
	be_put32(head + 1, (uint32_t)body.n);
	if (put_all(fd, head, sizeof(head), err) < 0)
		return -1;
	return put_all(fd, body.p, body.n, err);
}

/* 1 with *mark and *n bytes in buf, 0 at the end, -1. */
static int get_frame(int fd, unsigned *mark, char *buf, size_t cap, size_t *n, struct err *err)
{
	unsigned char head[5];
	int rc = get_all(fd, head, sizeof(head), err);

	if (rc != 1)
		return rc;
	*mark = head[0];
	*n = be_get32(head + 1);
	if (*n > cap)
		return err_set(err, ERR_INVALID, "a piece of %zu bytes", *n);
	rc = *n > 0 ? get_all(fd, buf, *n, err) : 1;
	return rc == 0 ? err_set(err, ERR_CLOSED, "a message was cut short") : rc;
}

int stream_put_head(int fd, const struct letter *l, struct err *err)
{
	struct strbuf b;
	int rc;

	strbuf_init(&b, HEAD_MAX);
	enc_str(&b, l->mailbox);
	enc_u32(&b, l->flags);
	enc_u64(&b, (uint64_t)l->date);
	enc_str(&b, l->keywords);
	rc = put_frame(fd, MARK_HEAD, strbuf_span(&b), err);
	strbuf_clear(&b);
	return rc;
}

int stream_put_bytes(int fd, struct span bytes, struct err *err)
{
	while (bytes.n > 0) {
		struct span piece = span_sub(bytes, 0, STREAM_PIECE_MAX);

		if (put_frame(fd, MARK_BYTES, piece, err) < 0)
			return -1;
		bytes = span_from(bytes, piece.n);
	}
	return 0;
}

int stream_put_end(int fd, bool is_whole, struct err *err)
{
	return put_frame(fd, is_whole ? MARK_WHOLE : MARK_BROKEN, SPAN(""), err);
}

int stream_get_head(int fd, struct letter *l, struct err *err)
{
	char buf[HEAD_MAX];
	unsigned mark = 0;
	struct dec d;
	size_t n = 0;
	int rc = get_frame(fd, &mark, buf, sizeof(buf), &n, err);

	if (rc != 1)
		return rc;
	d = dec_of(span_make(buf, n));
	dec_cstr(&d, l->mailbox, sizeof(l->mailbox));
	l->flags = dec_u32(&d);
	l->date = (int64_t)dec_u64(&d);
	dec_cstr(&d, l->keywords, sizeof(l->keywords));
	if (mark != MARK_HEAD || !dec_done(&d))
		return err_set(err, ERR_INVALID, "the head of a message does not decode");
	return 1;
}

int stream_get_bytes(int fd, char *buf, size_t *n, bool *is_whole, struct err *err)
{
	unsigned mark = 0;
	int rc = get_frame(fd, &mark, buf, STREAM_PIECE_MAX, n, err);

	if (rc == 0)
		return err_set(err, ERR_CLOSED, "a message was cut short");
	if (rc < 0)
		return -1;
	*is_whole = mark == MARK_WHOLE;
	if (mark == MARK_BYTES)
		return 1;
	if (mark == MARK_WHOLE || mark == MARK_BROKEN)
		return 0;
	return err_set(err, ERR_INVALID, "the bytes of a message do not decode");
}
