#include "common/net/deflate.h"
#include "tests/support/fixture.h"

#include <stdint.h>
#include <zlib.h>

static struct err err;

/* Everything that waits to be sent, in pieces of at most step bytes. */
static void collect(struct deflate *d, struct strbuf *wire, size_t step)
{
	for (;;) {
		struct span s = span_sub(deflate_output(d), 0, step);

		if (s.n == 0)
			return;
		strbuf_add(wire, s);
		deflate_sent(d, s.n);
	}
}

/* Feeds the wire's bytes in pieces; what they unpack to. */
static void unpack(struct deflate *d, struct span wire, size_t step, size_t cap, struct strbuf *out)
{
	char buf[20000];

	ck_assert(cap <= sizeof(buf));
	while (wire.n > 0 || deflate_has_pending(d)) {
		ssize_t n = deflate_read(d, buf, cap, &err);
		size_t room;
		char *raw;

		ck_assert_msg(n >= 0, "%s", err.text);
		ck_assert_uint_le((size_t)n, cap);
		strbuf_add_mem(out, buf, (size_t)n);
		if (n > 0 || wire.n == 0)
			continue;
		raw = deflate_room(d, &room);
		room = room < step ? room : step;
		room = room < wire.n ? room : wire.n;
		ck_assert_uint_gt(room, 0);
		memcpy(raw, wire.p, room);
		deflate_took(d, room);
		wire = span_from(wire, room);
	}
}

static void make_text(struct strbuf *b, size_t n, unsigned seed)
{
	for (size_t i = 0; b->n < n; i++) {
		seed = seed * 1103515245 + 12345;
		if (seed >> 28 < 3)
			strbuf_addf(b, "* %zu FETCH (FLAGS (\\Seen) UID %zu)\r\n", i, i * 3);
		else
			strbuf_add_chr(b, (char)(seed >> 16));
	}
	strbuf_truncate(b, n);
}

/* One stream over many writers: each flush ends one, the reader notices nothing. */
START_TEST(round_trip)
{
	static const size_t sizes[] = {1, 2, 100, 5000, 16384, 16384, 16384, 7, 16000, 3, 1};

	for (size_t step = 1; step < 5000; step = step * 7 + 1) {
		struct deflate *a = deflate_new(), *b = deflate_new();
		struct strbuf text, wire, out;
		size_t at = 0;

		strbuf_init(&text, 1 << 20);
		strbuf_init(&wire, 1 << 20);
		strbuf_init(&out, 1 << 20);
		make_text(&text, 85000, (unsigned)step);
		for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
			deflate_write(a, span_sub(strbuf_span(&text), at, sizes[i]),
			    i % 3 != 1 || i + 1 == ARRAY_LEN(sizes));
			at += sizes[i];
			collect(a, &wire, step);
		}
		unpack(b, strbuf_span(&wire), step, step < 20000 ? step : 20000, &out);
		ck_assert(span_eq(strbuf_span(&out), span_sub(strbuf_span(&text), 0, at)));
		strbuf_clear(&text);
		strbuf_clear(&wire);
		strbuf_clear(&out);
		deflate_free(a);
		deflate_free(b);
	}
}
END_TEST

/* What was flushed is with the peer, byte for byte. */
START_TEST(a_flush_leaves_nothing_behind)
{
	struct deflate *a = deflate_new(), *b = deflate_new();
	struct strbuf wire, out;

	strbuf_init(&wire, 65536);
	strbuf_init(&out, 65536);
	for (int i = 0; i < 100; i++) {
		strbuf_reset(&wire);
		strbuf_reset(&out);
		deflate_write(a, SPAN("a1 OK Nothing done\r\n"), true);
		collect(a, &wire, 1000);
		unpack(b, strbuf_span(&wire), 1000, 1000, &out);
		ck_assert(span_eq(strbuf_span(&out), SPAN("a1 OK Nothing done\r\n")));
	}
	strbuf_clear(&wire);
	strbuf_clear(&out);
	deflate_free(a);
	deflate_free(b);
}
END_TEST

/* Other implementations' streams, with the largest window. */
START_TEST(a_bomb_comes_in_slices)
{
	struct deflate *d = deflate_new();
	char *zeros = mem_zalloc(50 << 20);
	unsigned char *packed = mem_alloc(1 << 20);
	z_stream z = {0};
	struct span wire;
	uint64_t total = 0;
	char buf[4096];

	ck_assert(deflateInit2(&z, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY) == Z_OK);
	z.next_in = (unsigned char *)zeros;
	z.avail_in = 50 << 20;
	z.next_out = packed;
	z.avail_out = 1 << 20;
	ck_assert(deflate(&z, Z_SYNC_FLUSH) == Z_OK);
	wire = span_make(packed, (1 << 20) - z.avail_out);
	deflateEnd(&z);
	ck_assert_uint_lt(wire.n, 100000);
	while (wire.n > 0 || deflate_has_pending(d)) {
		ssize_t n = deflate_read(d, buf, sizeof(buf), &err);
		size_t room;
		char *raw;

		ck_assert(n >= 0 && n <= (ssize_t)sizeof(buf));
		total += (uint64_t)n;
		if (n > 0)
			continue;
		raw = deflate_room(d, &room);
		room = room < wire.n ? room : wire.n;
		memcpy(raw, wire.p, room);
		deflate_took(d, room);
		wire = span_from(wire, room);
	}
	ck_assert_uint_eq(total, 50 << 20);
	mem_free(zeros);
	mem_free(packed);
	deflate_free(d);
}
END_TEST

/* Blocks that hold nothing cost time and give a session nothing to do: they may not go on for ever,
 * but a byte in between makes them good. */
START_TEST(empty_blocks_end)
{
	static const char empty[] = {0, 0, 0, (char)0xff, (char)0xff};
	static const char one[] = {0, 1, 0, (char)0xfe, (char)0xff, 'x'};

	for (int with_byte = 0; with_byte < 2; with_byte++) {
		struct deflate *d = deflate_new();
		size_t sent = 0, room;
		char buf[100];
		ssize_t n = 0;

		err = (struct err)ERR_INIT;
		for (int i = 0; i < 40000 && n >= 0; i++) {
			bool is_one = with_byte && i % 1000 == 0;
			char *raw = deflate_room(d, &room);

			ck_assert(raw && room >= sizeof(one));
			memcpy(raw, is_one ? one : empty, is_one ? sizeof(one) : sizeof(empty));
			deflate_took(d, is_one ? sizeof(one) : sizeof(empty));
			sent += sizeof(empty);
			n = deflate_read(d, buf, sizeof(buf), &err);
			ck_assert(n < 0 || n == is_one);
		}
		if (with_byte) {
			ck_assert(n >= 0);
		} else {
			ck_assert_int_eq(err.code, ERR_LIMIT);
			ck_assert_uint_lt(sent, (size_t)70 * 1024);
		}
		deflate_free(d);
	}
}
END_TEST

START_TEST(broken_and_ended)
{
	static const struct {
		const char *bytes;
		size_t n;
		enum err_code code;
	} all[] = {
	    {"\xff\xff\xff", 3, ERR_INVALID},
	    {"NOOP\r\n", 6, ERR_INVALID},
	    {"\x03\x00", 2, ERR_CLOSED},
	    {"\x03\x00more", 6, ERR_CLOSED},
	};

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		struct deflate *d = deflate_new();
		char buf[100];
		size_t room;
		char *raw = deflate_room(d, &room);

		memcpy(raw, all[i].bytes, all[i].n);
		deflate_took(d, all[i].n);
		err = (struct err)ERR_INIT;
		ck_assert_int_eq(deflate_read(d, buf, sizeof(buf), &err), -1);
		ck_assert_int_eq(err.code, all[i].code);
		deflate_free(d);
	}
}
END_TEST

START_TEST(every_byte_pair_is_survived)
{
	for (unsigned v = 0; v < 65536; v++) {
		struct deflate *d = deflate_new();
		char buf[4096];
		size_t room;
		char *raw = deflate_room(d, &room);

		raw[0] = (char)v;
		raw[1] = (char)(v >> 8);
		deflate_took(d, 2);
		for (int i = 0; i < 4 && deflate_read(d, buf, sizeof(buf), &err) > 0; i++)
			;
		deflate_free(d);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("deflate");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, round_trip);
	tcase_add_test(tc, a_flush_leaves_nothing_behind);
	tcase_add_test(tc, a_bomb_comes_in_slices);
	tcase_add_test(tc, empty_blocks_end);
	tcase_add_test(tc, broken_and_ended);
	tcase_add_test(tc, every_byte_pair_is_survived);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
