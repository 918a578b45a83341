#include "smtpd/fetch/http.h"

#include <string.h>

void http_init(struct http_reader *r, size_t body_max)
{
	*r = (struct http_reader){.state = HTTP_STATUS};
	strbuf_init(&r->body, body_max);
}

void http_clear(struct http_reader *r)
{
	strbuf_clear(&r->body);
}

/* "HTTP/1.1 200 OK" */
static int take_status(struct http_reader *r, struct span line, struct err *err)
{
	struct span version, code;
	uint64_t status;

	if (!span_split(&line, ' ', &version) || !span_starts(version, SPAN("HTTP/1.")) ||
	    version.n != 8 || !span_split(&line, ' ', &code) || code.n != 3 ||
	    !span_u64(code, 999, &status))
		return err_set(err, ERR_INVALID, "no answer of HTTP");
	if (status >= 300 && status < 400)
		return err_set(
		    err, ERR_INVALID, "status %u: redirections are not followed", (unsigned)status);
	if (status >= 100 && status < 200)
		return err_set(err, ERR_INVALID, "status %u", (unsigned)status);
	if (status != 200)
		return err_set(err, ERR_NOT_FOUND, "status %u", (unsigned)status);
	r->state = HTTP_FIELDS;
	return 0;
}

static int take_field(struct http_reader *r, struct span line, struct err *err)
{
	ssize_t colon = span_chr(line, ':');
	struct span name, value;

	if (colon <= 0)
		return err_set(err, ERR_INVALID, "a line that is no header field");
	name = span_sub(line, 0, (size_t)colon);
	value = span_trim(span_from(line, (size_t)colon + 1));
	if (span_ieq(name, SPAN("Content-Length"))) {
		uint64_t n;

		if (!span_u64(value, UINT64_MAX, &n) || (r->has_length && n != r->left))
			return err_set(err, ERR_INVALID, "a malformed Content-Length");
		r->has_length = true;
		r->left = n;
	} else if (span_ieq(name, SPAN("Transfer-Encoding"))) {
		if (!span_ieq(value, SPAN("chunked")) || r->is_chunked)
			return err_set(err, ERR_UNSUPPORTED, "another transfer coding");
		r->is_chunked = true;
	} else if (span_ieq(name, SPAN("Content-Encoding"))) {
		if (!span_ieq(value, SPAN("identity")))
			return err_set(err, ERR_UNSUPPORTED, "a content coding nobody asked for");
	} else if (span_ieq(name, SPAN("Content-Type"))) {
		struct span type = value;

		(void)span_split(&value, ';', &type);
		r->is_text = span_ieq(span_trim(type), SPAN("text/plain"));
	}
	return 0;
}

static int end_head(struct http_reader *r, struct err *err)
{
	if (!r->is_text)
		return err_set(err, ERR_INVALID, "Content-Type is not text/plain");
	/* Both of them are how answers are smuggled. */
	if (r->is_chunked && r->has_length)
		return err_set(err, ERR_INVALID, "two lengths");
	if (r->has_length && r->left > r->body.max)
		return err_set(err, ERR_LIMIT, "longer than %zu bytes", r->body.max);
	if (r->is_chunked)
		r->state = HTTP_CHUNK;
	else if (r->has_length)
		r->state = r->left > 0 ? HTTP_LENGTH : HTTP_DONE;
	else
		return err_set(err, ERR_UNSUPPORTED, "an answer without a length");
	return 0;
}

/* Hex digits; an extension behind ";" is passed over. */
static int take_chunk(struct http_reader *r, struct span line, struct err *err)
{
	struct span digits = line;
	uint64_t n = 0;

	(void)span_split(&line, ';', &digits);
	digits = span_trim(digits);
	if (digits.n == 0 || digits.n > 8)
		return err_set(err, ERR_INVALID, "a malformed chunk");
	for (size_t i = 0; i < digits.n; i++) {
		int v = ascii_hex_value(digits.p[i]);

		if (v < 0)
			return err_set(err, ERR_INVALID, "a malformed chunk");
		n = n << 4 | (uint64_t)v;
	}
	r->left = n;
	r->state = n > 0 ? HTTP_CHUNK_DATA : HTTP_TRAILER;
	return 0;
}

static int take_line(struct http_reader *r, struct span line, struct err *err)
{
	if (line.n > 0 && line.p[line.n - 1] == '\r')
		line.n--;
	if (span_chr(line, '\0') >= 0 || span_chr(line, '\r') >= 0)
		return err_set(err, ERR_INVALID, "a NUL or a bare CR in the head");
	switch (r->state) {
	case HTTP_STATUS:
		return take_status(r, line, err);
	case HTTP_FIELDS:
		return line.n == 0 ? end_head(r, err) : take_field(r, line, err);
	case HTTP_CHUNK:
		return take_chunk(r, line, err);
	case HTTP_CHUNK_END:
		r->state = HTTP_CHUNK;
		return line.n == 0 ? 0 : err_set(err, ERR_INVALID, "a malformed chunk");
	default:
		r->state = line.n == 0 ? HTTP_DONE : HTTP_TRAILER;
		return 0;
	}
}

static int take_body(struct http_reader *r, struct span in, size_t *used, struct err *err)
{
	struct span piece = r->left > in.n ? in : span_sub(in, 0, (size_t)r->left);

	*used = piece.n;
	if (!strbuf_add(&r->body, piece))
		return err_set(err, ERR_LIMIT, "longer than %zu bytes", r->body.max);
	r->left -= piece.n;
	if (r->left == 0)
		r->state = r->state == HTTP_LENGTH ? HTTP_DONE : HTTP_CHUNK_END;
	return 0;
}

static bool is_in_body(const struct http_reader *r)
{
	return r->state == HTTP_LENGTH || r->state == HTTP_CHUNK_DATA;
}

int http_read(struct http_reader *r, struct span in, size_t *used, struct err *err)
{
	*used = 0;
	while (r->state != HTTP_DONE && *used < in.n) {
		struct span rest = span_from(in, *used);
		size_t n = 0;
		ssize_t end;

		if (is_in_body(r)) {
			if (take_body(r, rest, &n, err) < 0)
				return -1;
			*used += n;
			continue;
		}
		end = span_chr(rest, '\n');
		if ((end < 0 ? rest.n : (size_t)end) > HTTP_LINE_MAX)
			return err_set(err, ERR_LIMIT, "a line that is too long");
		if (end < 0)
			return 0;
		n = (size_t)end + 1;
		r->head += n;
		if (r->head > HTTP_HEAD_MAX)
			return err_set(err, ERR_LIMIT, "too many lines around the content");
		if (take_line(r, span_sub(rest, 0, (size_t)end), err) < 0)
			return -1;
		*used += n;
	}
	return 0;
}
