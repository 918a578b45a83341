/* DKIM: the examples of the RFCs, pieces cut anywhere, and what is signed. */
#include "common/base/base64.h"
#include "common/base/mem.h"
#include "common/mail/dkim.h"
#include "smtpd/send/dkim.h"
#include "tests/support/unit.h"

#include <stdio.h>

/* --- canonical forms -------------------------------------------------------------------------- */
static void into_buffer(void *arg, struct span bytes)
{
	strbuf_add(arg, bytes);
}

/* In three pieces, cut at a and b. */
static void body_in_pieces(struct span in, size_t a, size_t b, struct strbuf *out)
{
	struct dkim_body body;
	struct span parts[3] = {span_sub(in, 0, a), span_sub(in, a, b - a), span_from(in, b)};

	strbuf_init(out, 4 * in.n + 64);
	dkim_body_init(&body, into_buffer, out);
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		struct span part = exact(parts[i].p, parts[i].n);

		dkim_body_feed(&body, part);
		exact_free(part);
	}
	dkim_body_end(&body);
}

START_TEST(bodies)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
	    /* RFC 6376 section 3.4.5 */
	    {" C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n"},
	    {"", ""},
	    {"\r\n", ""},
	    {"\r\n\r\n\r\n", ""},
	    {" \t \r\n\t\r\n", ""},
	    {"   ", ""},
	    {"a", "a\r\n"},
	    {"a\r\n", "a\r\n"},
	    {"a \t", "a\r\n"},
	    {"a\r\n \r\n\t\t\r\n", "a\r\n"},
	    {"\r\n\r\na\r\n", "\r\n\r\na\r\n"},
	    {"a\r\n\r\n\r\nb", "a\r\n\r\n\r\nb\r\n"},
	    {"\ta\t\tb  c\t\r\n", " a b c\r\n"},
	    {"a\rb\r\n", "a\rb\r\n"},
	    {"a\r", "a\r\r\n"},
	    {"a\r\r\n", "a\r\r\n"},
	    {" \r \r\n", " \r\r\n"},
	    {"a\nb\r\n", "a\nb\r\n"},
	    {".\r\n..\r\n", ".\r\n..\r\n"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct span in = span_of(rows[i].in);

		for (size_t a = 0; a <= in.n; a++)
			for (size_t b = a; b <= in.n; b++) {
				struct strbuf out;

				body_in_pieces(in, a, b, &out);
				ck_assert_msg(span_eq(strbuf_span(&out), span_of(rows[i].out)),
				    "%zu, cut at %zu and %zu: \"%s\"", i, a, b, out.p);
				strbuf_clear(&out);
			}
	}
}
END_TEST

START_TEST(field_forms)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
	    {"A: X\r\n", "a:X"},
	    {"B : Y\t\r\n\tZ  \r\n", "b:Y Z"},
	    {"Subject:\r\n", "subject:"},
	    {"SUBJECT:  \r\n \t\r\n", "subject:"},
	    {"X-a:b:c", "x-a:b:c"},
	    {"From:a\r\n  b\r\n\tc", "from:a b c"},
	    {"no colon", "no colon:"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct span in = exact(rows[i].in, span_of(rows[i].in).n);
		struct strbuf out;

		strbuf_init(&out, 1000);
		dkim_field(&out, in);
		ck_assert_str_eq(out.p, rows[i].out);
		strbuf_clear(&out);
		exact_free(in);
	}
}
END_TEST

/* --- RFC 8463, appendix A --------------------------------------------------------------------- */
/* The key as the RFC gives it, 32 bytes, with the frame that PKCS #8 puts around it. */
static void rfc_key(struct strbuf *pem)
{
	static const unsigned char frame[] = {0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03,
	    0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20};
	struct strbuf der;

	strbuf_init(&der, 100);
	strbuf_init(pem, 1000);
	strbuf_add_mem(&der, frame, sizeof(frame));
	ck_assert(base64_decode(&der, SPAN("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")));
	strbuf_add_str(pem, "-----BEGIN PRIVATE KEY-----\n");
	base64_encode(pem, strbuf_span(&der));
	strbuf_add_str(pem, "\n-----END PRIVATE KEY-----\n");
	strbuf_clear(&der);
}

static const char *const rfc_fields[] = {
    "From: Joe SixPack <joe@football.example.com>\r\n",
    "To: Suzie Q <suzie@shopping.example.net>\r\n",
    "Subject: Is dinner ready?\r\n",
    "Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n",
    "Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n",
};
static const char rfc_body[] = "Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";
static const char rfc_signature[] = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n"
				    " d=football.example.com; i=@football.example.com;\r\n"
				    " q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n"
				    " subject : date : message-id : from : subject : date;\r\n"
				    " bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"
				    " b=";

static void base64_is(const unsigned char *p, size_t n, const char *want)
{
	struct strbuf text;

	strbuf_init(&text, 4096);
	base64_encode(&text, span_make(p, n));
	ck_assert_str_eq(text.p, want);
	strbuf_clear(&text);
}

START_TEST(the_rfc)
{
	unsigned char hash[SHA256_LEN], signature[SIGNATURE_MAX];
	struct strbuf pem, header, body;
	struct err err = ERR_INIT;
	struct sign_key *key;
	size_t n;

	body_in_pieces(span_of(rfc_body), 3, 17, &body);
	sha256_once(strbuf_span(&body), hash);
	base64_is(hash, sizeof(hash), "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=");
	strbuf_init(&header, 4096);
	for (size_t i = 0; i < ARRAY_LEN(rfc_fields); i++) {
		dkim_field(&header, span_of(rfc_fields[i]));
		strbuf_add_str(&header, "\r\n");
	}
	dkim_field(&header, span_of(rfc_signature));
	sha256_once(strbuf_span(&header), hash);
	rfc_key(&pem);
	key = sign_key_read(strbuf_span(&pem), &err);
	ck_assert_msg(key != NULL, "%s", err.text);
	ck_assert(!sign_key_is_rsa(key));
	ck_assert_int_eq(sign_hash(key, hash, signature, &n, &err), 0);
	base64_is(signature, n,
	    "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1"
	    "Dw==");
	sign_key_free(key);
	strbuf_clear(&pem);
	strbuf_clear(&header);
	strbuf_clear(&body);
}
END_TEST

/* --- signing ---------------------------------------------------------------------------------- */
static struct dkim_keys *example_keys(void)
{
	struct dkim_keys *keys = dkim_keys_new();
	struct err err = ERR_INIT;
	struct strbuf pem;

	rfc_key(&pem);
	ck_assert_int_eq(
	    dkim_keys_add(keys, SPAN("example.org"), SPAN("one"), strbuf_span(&pem), &err), 0);
	ck_assert_int_eq(
	    dkim_keys_add(keys, SPAN("example.org"), SPAN("two"), strbuf_span(&pem), &err), 0);
	strbuf_clear(&pem);
	return keys;
}

/* The fields of a message, fed in pieces of this size. */
static char *sign(const struct dkim_keys *keys, struct span message, size_t size, const char **why)
{
	struct dkim_signer *s = dkim_signer_new(keys, 1700000000);
	struct err err = ERR_INIT;
	struct strbuf out;
	size_t n;

	while (message.n > 0) {
		struct span part = span_sub(message, 0, size);

		dkim_signer_feed(s, part);
		message = span_from(message, part.n);
	}
	strbuf_init(&out, DKIM_FIELDS_MAX);
	ck_assert_msg(dkim_signer_end(s, &out, why, &err) == 0, "%s", err.text);
	return strbuf_steal(&out, &n);
}

START_TEST(any_pieces_give_the_same)
{
	static const char message[] =
	    "Received: x\r\nFrom: a@Example.ORG\r\nTo: b@c\r\nSubject: one\r\n two\r\nX-not: "
	    "signed\r\nTo: d@e\r\n\r\nbody \r\n\r\nend\r\n\r\n";
	struct dkim_keys *keys = example_keys();
	const char *why;
	char *whole = sign(keys, span_of(message), sizeof(message), &why);

	ck_assert_ptr_null(why);
	ck_assert_ptr_nonnull(strstr(whole, "s=one;"));
	ck_assert_ptr_nonnull(strstr(whole, "s=two;"));
	ck_assert_ptr_nonnull(strstr(whole, "d=example.org;"));
	ck_assert_ptr_nonnull(strstr(whole, "a=ed25519-sha256; c=relaxed/relaxed"));
	ck_assert_ptr_nonnull(
	    strstr(whole, "h=From:From:Reply-To:To:To:To:Cc:Subject:Subject:Date:Message-ID:"));
	ck_assert_ptr_null(strstr(whole, "X-not"));
	ck_assert_ptr_null(strstr(whole, "Received"));
	for (size_t size = 1; size < sizeof(message); size++) {
		char *other = sign(keys, span_of(message), size, &why);

		ck_assert_str_eq(whole, other);
		mem_free(other);
	}
	mem_free(whole);
	dkim_keys_unref(keys);
}
END_TEST

/* Every line ends in CRLF and is short; what is folded begins with white space. */
START_TEST(fields_are_well_formed)
{
	struct dkim_keys *keys = example_keys();
	struct span rest, line;
	struct strbuf message;
	const char *why;
	char *fields;

	strbuf_init(&message, 100000);
	strbuf_add_str(&message, "From: a@example.org\r\n");
	for (int i = 0; i < 300; i++)
		strbuf_add_str(&message, "Content-Transfer-Encoding: 8bit\r\n");
	strbuf_add_str(&message, "\r\n");
	fields = sign(keys, strbuf_span(&message), 1000, &why);
	rest = span_of(fields);
	while (rest.n > 0 && span_split(&rest, '\n', &line)) {
		ck_assert_uint_lt(line.n, 120);
		ck_assert_int_eq(line.p[line.n - 1], '\r');
		ck_assert(line.p[0] == '\t' || span_starts(line, SPAN("DKIM-Signature: ")));
	}
	mem_free(fields);
	strbuf_clear(&message);
	dkim_keys_unref(keys);
}
END_TEST

START_TEST(who_is_signed_for)
{
	static const struct {
		const char *from;
		bool is_signed;
	} rows[] = {
	    {"From: a@example.org\r\n", true},
	    {"From: \"x <y@other.org>\" <a@example.org>\r\n", true},
	    {"From: a@example.org, b@EXAMPLE.org\r\n", true},
	    {"From: a@example.org, b@other.org\r\n", false},
	    {"From: a@other.org\r\n", false},
	    {"From: a@mail.sub.example.org\r\n", true},
	    {"From: a@badexample.org\r\n", false},
	    {"From: a@org\r\n", false},
	    {"From: a@example.org\r\nFrom: b@example.org\r\n", false},
	    {"From: nobody\r\n", false},
	    {"From:\r\n", false},
	    {"Sender: a@example.org\r\n", false},
	    {"", false},
	};
	struct dkim_keys *keys = example_keys();

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *why;
		char text[300], *fields;

		snprintf(text, sizeof(text), "%s\r\nbody\r\n", rows[i].from);
		fields = sign(keys, span_of(text), sizeof(text), &why);
		ck_assert_msg((fields[0] != '\0') == rows[i].is_signed, "%s", rows[i].from);
		ck_assert((why == NULL) == rows[i].is_signed);
		mem_free(fields);
	}
	dkim_keys_unref(keys);
}
END_TEST

/* Longer than what is held: not signed, and not more is held. */
START_TEST(a_header_without_end)
{
	struct dkim_keys *keys = example_keys();
	struct dkim_signer *s = dkim_signer_new(keys, 1);
	struct err err = ERR_INIT;
	struct strbuf out;
	const char *why = NULL;

	dkim_signer_feed(s, SPAN("From: a@example.org\r\n"));
	for (int i = 0; i < 40000; i++)
		dkim_signer_feed(s, SPAN("X: 0123456789\r\n"));
	dkim_signer_feed(s, SPAN("\r\nbody\r\n"));
	strbuf_init(&out, DKIM_FIELDS_MAX);
	ck_assert_int_eq(dkim_signer_end(s, &out, &why, &err), 0);
	ck_assert_uint_eq(out.n, 0);
	ck_assert_str_eq(why, "the header is too long");
	strbuf_clear(&out);
	dkim_keys_unref(keys);
}
END_TEST

START_TEST(keys_that_are_none)
{
	static const char *const bad[] = {
	    "", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"};
	struct dkim_keys *keys = dkim_keys_new();
	struct err err = ERR_INIT;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		ck_assert_int_lt(
		    dkim_keys_add(keys, SPAN("a.org"), SPAN("s"), span_of(bad[i]), &err), 0);
		ck_assert_int_eq(err.code, ERR_INVALID);
	}
	ck_assert_uint_eq(dkim_keys_count(keys), 0);
	dkim_keys_unref(keys);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {bodies, field_forms, the_rfc, any_pieces_give_the_same,
	    fields_are_well_formed, who_is_signed_for, a_header_without_end, keys_that_are_none};
	TCase *tc = tcase_create("dkim");

	unit_add(tc, tests, ARRAY_LEN(tests));
	return unit_finish(tc);
}
