#include "webadmin/web.h"

#include "common/base/hash.h"
#include "common/base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COOKIE_NAME "__Host-mailstead"

static struct span env(const char *name)
{
	struct span s = span_of(getenv(name));

	return s.p ? s : span_make("", 0);
}

static int decode_part(struct arena *a, struct span in, struct span *out, struct err *err)
{
	char *to = arena_alloc(a, in.n + 1);
	size_t n = 0;

	if (!to)
		return err_set(err, ERR_LIMIT, "the form is too large");
	for (size_t i = 0; i < in.n; i++) {
		char c = in.p[i];

		if (c == '+') {
			c = ' ';
		} else if (c == '%') {
			if (in.n - i <= 2 || !ascii_hex_byte(in.p[i + 1], in.p[i + 2], &c))
				return err_set(err, ERR_INVALID, "malformed form");
			i += 2;
		}
		if (c == '\0')
			return err_set(err, ERR_INVALID, "malformed form");
		to[n++] = c;
	}
	*out = span_make(to, n);
	return 0;
}

int form_decode(
    struct arena *a, struct span text, struct field *fields, size_t *count, struct err *err)
{
	struct span part;

	*count = 0;
	while (span_split(&text, '&', &part)) {
		ssize_t eq = span_chr(part, '=');
		struct span name = eq < 0 ? part : span_sub(part, 0, (size_t)eq);
		struct span value = eq < 0 ? span_make("", 0) : span_from(part, (size_t)eq + 1);

		if (part.n == 0)
			continue;
		if (*count == WEB_FIELDS_MAX)
			return err_set(err, ERR_LIMIT, "too many fields");
		if (decode_part(a, name, &fields[*count].name, err) < 0 ||
		    decode_part(a, value, &fields[*count].value, err) < 0)
			return -1;
		(*count)++;
	}
	return 0;
}

struct span cookie_find(struct span header, struct span name)
{
	struct span part;

	while (span_split(&header, ';', &part)) {
		part = span_trim(part);
		if (span_starts(part, name) && part.n > name.n && part.p[name.n] == '=')
			return span_from(part, name.n + 1);
	}
	return span_make("", 0);
}

/* --- multipart/form-data (RFC 7578) ------------------------------------------------------------
 */
/* The name of a part from its head: Content-Disposition: form-data; name="..." */
static bool part_name(struct span head, struct span *name)
{
	ssize_t at = span_find(head, SPAN("name=\""));
	ssize_t end;

	/* filename="..." ends with the same letters. */
	while (at > 0 && ascii_is_alnum(head.p[at - 1])) {
		ssize_t next = span_find(span_from(head, (size_t)at + 1), SPAN("name=\""));

		at = next < 0 ? -1 : at + 1 + next;
	}
	if (at < 0)
		return false;
	*name = span_from(head, (size_t)at + 6);
	end = span_chr(*name, '"');
	if (end < 0)
		return false;
	name->n = (size_t)end;
	return true;
}

int multipart_decode(
    struct span text, struct span boundary, struct field *fields, size_t *count, struct err *err)
{
	char mark[80] = {'\r', '\n', '-', '-'};
	struct span end, head;
	ssize_t at;

	if (boundary.n == 0 || boundary.n > 70)
		return err_set(err, ERR_INVALID, "malformed form");
	memcpy(mark + 4, boundary.p, boundary.n);
	end = span_make(mark, boundary.n + 4);
	/* The first boundary has no line before it. */
	if (!span_starts(text, span_from(end, 2)))
		return err_set(err, ERR_INVALID, "malformed form");
	text = span_from(text, end.n - 2);
	while (!span_starts(text, SPAN("--"))) {
		struct field *f = &fields[*count];

		at = span_find(text, SPAN("\r\n\r\n"));
		if (*count == WEB_FIELDS_MAX || at < 0)
			return err_set(err, ERR_INVALID, "malformed form");
		head = span_sub(text, 0, (size_t)at);
		text = span_from(text, (size_t)at + 4);
		/* An empty part's end may overlap its head's. */
		at = span_starts(text, span_from(end, 2)) ? -2 : span_find(text, end);
		if (at == -1 || !part_name(head, &f->name))
			return err_set(err, ERR_INVALID, "malformed form");
		f->value = span_sub(text, 0, at < 0 ? 0 : (size_t)at);
		text = span_from(text, (size_t)(at + (ssize_t)end.n));
		(*count)++;
	}
	return 0;
}

static struct span find(const struct field *fields, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (span_eq(fields[i].name, span_of(name)))
			return fields[i].value;
	return span_make("", 0);
}

struct span request_form(const struct request *rq, const char *name)
{
	return find(rq->form, rq->form_count, name);
}

struct span request_query(const struct request *rq, const char *name)
{
	return find(rq->query, rq->query_count, name);
}

const char *form_cstr(struct request *rq, const char *name)
{
	const char *s = arena_strdup(&rq->arena, request_form(rq, name));

	return s ? s : "";
}

static int decode_body(struct request *rq, struct span body, struct err *err)
{
	struct span type = env("CONTENT_TYPE");
	ssize_t at = span_find(type, SPAN("boundary="));
	struct span boundary;

	if (span_istarts(type, SPAN("application/x-www-form-urlencoded")))
		return form_decode(&rq->arena, body, rq->form, &rq->form_count, err);
	if (span_istarts(type, SPAN("multipart/form-data")) && at >= 0) {
		boundary = span_from(type, (size_t)at + 9);
		if (boundary.n > 1 && boundary.p[0] == '"' && boundary.p[boundary.n - 1] == '"')
			boundary = span_sub(boundary, 1, boundary.n - 2);
		return multipart_decode(body, boundary, rq->form, &rq->form_count, err);
	}
	/* What mail programs send to autodiscover. */
	if (span_istarts(type, SPAN("text/xml")) || span_istarts(type, SPAN("application/xml"))) {
		rq->body = body;
		return 0;
	}
	return err_set(err, ERR_INVALID, "only forms are understood");
}

static int read_body(struct request *rq, struct err *err)
{
	struct span length = env("CONTENT_LENGTH");
	uint64_t n = 0;
	uint64_t max = WEB_FORM_MAX;
	size_t got = 0;
	char *body;

	/* Files come to one place only. */
	if (span_starts(rq->path, SPAN("/certificates/")))
		max = WEB_BODY_MAX;
	if (length.n > 0 && !span_u64(length, max, &n))
		return err_set(err, ERR_LIMIT, "the request is larger than %llu bytes",
		    (unsigned long long)max);
	if (n == 0)
		return 0;
	body = arena_alloc(&rq->arena, (size_t)n);
	if (!body)
		return err_set(err, ERR_LIMIT, "the request is too large");
	while (got < n) {
		ssize_t r = read(0, body + got, (size_t)n - got);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return err_set(err, ERR_INVALID, "the request was cut short");
		got += (size_t)r;
	}
	return decode_body(rq, span_make(body, got), err);
}

static bool is_token(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_is_alnum(s.p[i]))
			return false;
	return s.n > 0 && s.n <= WEB_TOKEN_MAX;
}

int request_read(struct request *rq, struct err *err)
{
	struct span method = env("REQUEST_METHOD");
	struct span cookie = cookie_find(env("HTTP_COOKIE"), SPAN(COOKIE_NAME));

	arena_init(&rq->arena, (size_t)WEB_BODY_MAX * 4 + 2 * (size_t)WEB_PAGE_MAX);
	rq->is_post = span_eq(method, SPAN("POST"));
	if (!rq->is_post && !span_eq(method, SPAN("GET")) && !span_eq(method, SPAN("HEAD")))
		return err_set(err, ERR_UNSUPPORTED, "method not allowed");
	rq->path = env("PATH_INFO");
	if (rq->path.n == 0)
		rq->path = SPAN("/");
	rq->client = env("REMOTE_ADDR");
	rq->host = env("HTTP_HOST");
	rq->port = env("SERVER_PORT");
	if (is_token(cookie))
		memcpy(rq->token, cookie.p, cookie.n);
	if (form_decode(&rq->arena, env("QUERY_STRING"), rq->query, &rq->query_count, err) < 0)
		return -1;
	return rq->is_post ? read_body(rq, err) : 0;
}

void csrf_token(const char *session, char out[17])
{
	unsigned char key[16] = {0};
	struct span s = span_of(session);
	uint64_t mac;

	/* The session token is 128 random bits in hex; its two halves folded are the key. */
	for (size_t i = 0; i < s.n; i++)
		key[i % sizeof(key)] =
		    (unsigned char)(key[i % sizeof(key)] * 31 + (unsigned char)s.p[i]);
	mac = hash_siphash(key, SPAN("mailstead form"));
	snprintf(out, 17, "%016llx", (unsigned long long)mac);
}

/*
 * SameSite=Strict already keeps foreign pages' requests without a cookie; this holds where a
 * browser does not know it. An Origin, if the browser sends one, must be this host's.
 */
bool csrf_is_right(const struct request *rq)
{
	struct span sent = request_form(rq, "csrf");
	struct span origin = env("HTTP_ORIGIN");
	struct span host = env("HTTP_HOST");
	char want[17];

	if (origin.n > 0 &&
	    !(span_starts(origin, SPAN("https://")) && span_ieq(span_from(origin, 8), host)))
		return false;
	csrf_token(rq->token, want);
	return sent.n == 16 && mem_equal_secret(sent.p, want, 16);
}
