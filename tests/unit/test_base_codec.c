/* Base64, UTF-8 and binary records, each against its definition over everything that is small. */
#include "common/base/base64.h"
#include "common/base/codec.h"
#include "common/base/utf8.h"
#include "tests/support/unit.h"

/* --- base64 ----------------------------------------------------------------------------------- */
static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

START_TEST(base64_every_length)
{
	unsigned char bytes[1024];

	srand(3);
	for (size_t n = 0; n <= sizeof(bytes); n++) {
		struct strbuf text, back;
		struct span in, coded;

		for (size_t i = 0; i < n; i++)
			bytes[i] = (unsigned char)rand();
		in = exact(bytes, n);
		strbuf_init(&text, BASE64_ENCODED_LEN(n));
		ck_assert(base64_encode(&text, in));
		ck_assert_uint_eq(text.n, BASE64_ENCODED_LEN(n));
		coded = exact(text.p, text.n);
		strbuf_init(&back, text.n / 4 * 3);
		ck_assert(base64_decode(&back, coded));
		ck_assert(span_eq(strbuf_span(&back), in));
		strbuf_clear(&text);
		strbuf_clear(&back);
		exact_free(in);
		exact_free(coded);
	}
}
END_TEST

START_TEST(base64_limits)
{
	for (size_t n = 1; n <= 64; n++) {
		char bytes[64] = {0};
		struct strbuf text;

		strbuf_init(&text, BASE64_ENCODED_LEN(n) - 1);
		ck_assert(!base64_encode(&text, span_make(bytes, n)));
		ck_assert(text.failed && text.n == 0);
		ck_assert(!base64_encode(&text, span_make(bytes, 1)) || n > 3);
		strbuf_clear(&text);
	}
}
END_TEST

START_TEST(base64_vectors)
{
	static const char *const pairs[][2] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="},
	    {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}};

	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		struct strbuf b;

		strbuf_init(&b, 64);
		ck_assert(base64_encode(&b, span_of(pairs[i][0])));
		ck_assert_str_eq(b.p, pairs[i][1]);
		strbuf_reset(&b);
		ck_assert(base64_decode(&b, span_of(pairs[i][1])));
		ck_assert_str_eq(b.p, pairs[i][0]);
		strbuf_clear(&b);
	}
}
END_TEST

static bool decodes(const char *text, size_t n)
{
	struct span in = exact(text, n);
	struct strbuf b;
	bool result;

	strbuf_init(&b, 64);
	result = base64_decode(&b, in);
	ck_assert(result || b.n == 0);
	strbuf_clear(&b);
	exact_free(in);
	return result;
}

/* Every byte at every place of a group, whole and padded: only the one canonical text passes. */
START_TEST(base64_is_strict)
{
	for (int byte = 0; byte < 256; byte++) {
		bool is_digit = byte != 0 && strchr(alphabet, byte) != NULL;
		int value = is_digit ? (int)(strchr(alphabet, byte) - alphabet) : -1;

		for (size_t at = 0; at < 4; at++) {
			char whole[] = "AAAA", two[] = "AAA=", one[] = "AA==";

			whole[at] = two[at] = one[at] = (char)byte;
			/* "AAA=" and, at the second place, nothing: padding only at the end. */
			ck_assert_int_eq(decodes(whole, 4), is_digit || (byte == '=' && at == 3));
			if (at < 3)
				ck_assert_int_eq(
				    decodes(two, 4), (is_digit && (at < 2 || value % 4 == 0)) ||
							 (byte == '=' && at == 2));
			if (at < 2)
				ck_assert_int_eq(
				    decodes(one, 4), is_digit && (at < 1 || value % 16 == 0));
		}
	}
	for (size_t n = 1; n < 12; n++)
		ck_assert_int_eq(decodes("AAAAAAAAAAAA", n), n % 4 == 0);
	ck_assert(!decodes("AA==AAAA", 8) && !decodes("AAA=AAAA", 8) && !decodes("====", 4));
	ck_assert(!decodes("A===", 4) && !decodes("AA=A", 4) && !decodes("AAAA\n", 5));
}
END_TEST

/* --- UTF-8 ------------------------------------------------------------------------------------ */
static bool takes(const unsigned char *p, size_t n, uint32_t *cp, size_t *used)
{
	struct span s = exact(p, n), start = s;
	bool result = utf8_take(&s, cp);

	*used = n - s.n;
	exact_free(start);
	return result;
}

/* All code points, there and back. */
START_TEST(utf8_every_code_point)
{
	struct strbuf b;

	strbuf_init(&b, 4);
	for (uint32_t cp = 0; cp <= 0x110010; cp++) {
		bool is_valid = cp <= 0x10ffff && !(cp >= 0xd800 && cp <= 0xdfff);
		struct span s;
		uint32_t back;

		strbuf_reset(&b);
		if (utf8_add(&b, cp) != is_valid)
			ck_abort_msg("U+%04X", cp);
		s = strbuf_span(&b);
		if (is_valid && (!utf8_take(&s, &back) || back != cp || s.n > 0))
			ck_abort_msg("U+%04X", cp);
	}
	strbuf_clear(&b);
}
END_TEST

/* The table of well-formed byte sequences (RFC 3629 section 4), over all sequences of up to three
 * bytes and the four-byte ones at its borders. */
static size_t well_formed(const unsigned char *p, size_t n)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t want;

	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	want = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (p[0] == 0xe0)
		low = 0xa0;
	if (p[0] == 0xed)
		high = 0x9f;
	if (p[0] == 0xf0)
		low = 0x90;
	if (p[0] == 0xf4)
		high = 0x8f;
	if (n < want || p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < want; i++)
		if (p[i] < 0x80 || p[i] > 0xbf)
			return 0;
	return want;
}

static void check_sequence(const unsigned char *p, size_t n)
{
	uint32_t cp;
	size_t used, want = well_formed(p, n);

	/* Millions of times: an assertion of the library each would take minutes. */
	if (takes(p, n, &cp, &used) != (want > 0) || used != (want ? want : 1) ||
	    (!want && cp != p[0]))
		ck_abort_msg("%02x %02x %02x, %zu bytes", p[0], p[1], p[2], n);
}

START_TEST(utf8_every_sequence)
{
	static const unsigned char border[] = {
	    0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff};
	unsigned char p[4] = {0};

	for (unsigned a = 0; a < 256; a++) {
		p[0] = (unsigned char)a;
		check_sequence(p, 1);
		for (unsigned b = 0; b < 256; b++) {
			p[1] = (unsigned char)b;
			check_sequence(p, 2);
			for (size_t c = 0; c < ARRAY_LEN(border); c++) {
				p[2] = border[c];
				check_sequence(p, 3);
				for (size_t d = 0; a >= 0xe0 && d < ARRAY_LEN(border); d++) {
					p[3] = border[d];
					check_sequence(p, 4);
				}
			}
		}
	}
}
END_TEST

START_TEST(utf8_whole_texts)
{
	struct span none = span_make(NULL, 0);
	uint32_t cp;

	ck_assert(utf8_is_valid(none) && utf8_is_ascii(none) && !utf8_take(&none, &cp));
	ck_assert(utf8_is_valid(SPAN("a\xc3\xa9")) && !utf8_is_ascii(SPAN("a\xc3\xa9")));
	ck_assert(!utf8_is_valid(SPAN("a\xc3")) && !utf8_is_valid(SPAN("\xa9z")));
	ck_assert(utf8_is_ascii(SPAN("\x7f")) && !utf8_is_ascii(SPAN("\x80")));
}
END_TEST

/* --- records ---------------------------------------------------------------------------------- */
static const uint64_t values[] = {0, 1, 0x7f, 0x80, 0xff, 0x100, 0x3fff, 0x4000, 0xffff, 0x10000,
    0x7fffffff, 0x80000000, 0x80000001, 0xffffffff, 0x100000000, 0x100000001, 0x7fffffffffffffff,
    0x8000000000000000, 0x8000000000000001, 0xfffffffffffffffe, 0xffffffffffffffff};

static void encode_all(struct strbuf *b, uint64_t v)
{
	enc_u8(b, (uint8_t)v);
	enc_u16(b, (uint16_t)v);
	enc_u32(b, (uint32_t)v);
	enc_u64(b, v);
	enc_varint(b, v);
	enc_bytes(b, SPAN("a\0b"));
	enc_str(b, "text");
	enc_str(b, NULL);
}

/* What was written is read; every shorter input is bad, and gives zeros from there on. */
START_TEST(codec_round_trip_at_every_cut)
{
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		uint64_t v = values[i];
		struct strbuf b;

		strbuf_init(&b, 256);
		encode_all(&b, v);
		for (size_t n = 0; n <= b.n; n++) {
			struct span in = exact(b.p, n);
			struct dec d = dec_of(in);
			uint8_t u8 = dec_u8(&d);
			uint16_t u16 = dec_u16(&d);
			uint32_t u32 = dec_u32(&d);
			uint64_t u64 = dec_u64(&d), varint = dec_varint(&d);
			struct span bytes = dec_bytes(&d);
			char text[8];

			dec_cstr(&d, text, sizeof(text));
			ck_assert_uint_eq(dec_bytes(&d).n, 0);
			ck_assert_int_eq(dec_ok(&d), n == b.n);
			ck_assert_int_eq(dec_done(&d), n == b.n);
			ck_assert_uint_eq(u8, n >= 1 ? (uint8_t)v : 0);
			ck_assert_uint_eq(u16, n >= 3 ? (uint16_t)v : 0);
			ck_assert_uint_eq(u32, n >= 7 ? (uint32_t)v : 0);
			ck_assert_uint_eq(u64, n >= 15 ? v : 0);
			if (n == b.n) {
				ck_assert_uint_eq(varint, v);
				ck_assert(span_eq(bytes, SPAN("a\0b")));
				ck_assert_str_eq(text, "text");
			}
			exact_free(in);
		}
		strbuf_clear(&b);
	}
}
END_TEST

START_TEST(codec_is_big_endian)
{
	unsigned char raw[8];
	struct strbuf b;

	be_put16(raw, 0x0102);
	ck_assert(memcmp(raw, "\1\2", 2) == 0 && be_get16(raw) == 0x0102);
	be_put32(raw, 0x01020304);
	ck_assert(memcmp(raw, "\1\2\3\4", 4) == 0 && be_get32(raw) == 0x01020304);
	be_put64(raw, 0x0102030405060708);
	ck_assert(memcmp(raw, "\1\2\3\4\5\6\7\10", 8) == 0 && be_get64(raw) == 0x0102030405060708);
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		be_put64(raw, values[i]);
		ck_assert_uint_eq(be_get64(raw), values[i]);
		be_put32(raw, (uint32_t)values[i]);
		ck_assert_uint_eq(be_get32(raw), (uint32_t)values[i]);
		be_put16(raw, (uint16_t)values[i]);
		ck_assert_uint_eq(be_get16(raw), (uint16_t)values[i]);
	}
	strbuf_init(&b, 16);
	enc_u32(&b, 0xfffefdfc);
	ck_assert(span_eq(strbuf_span(&b), SPAN("\xff\xfe\xfd\xfc")));
	strbuf_clear(&b);
}
END_TEST

static bool varint(const char *p, size_t n, uint64_t *v)
{
	struct span in = exact(p, n);
	struct dec d = dec_of(in);

	*v = dec_varint(&d);
	exact_free(in);
	return dec_done(&d);
}

START_TEST(varint_forms)
{
	uint64_t v;

	ck_assert(varint("\x7f", 1, &v) && v == 127);
	ck_assert(varint("\x80\x01", 2, &v) && v == 128);
	ck_assert(!varint("\x80\x00", 2, &v)); /* zero in two bytes */
	ck_assert(!varint("\xff\x80\x00", 3, &v));
	ck_assert(!varint("\x80", 1, &v));
	ck_assert(varint("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10, &v) && v == UINT64_MAX);
	ck_assert(!varint("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10, &v));
	ck_assert(!varint("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x01", 11, &v));
	ck_assert(!varint("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, &v));
}
END_TEST

START_TEST(codec_lengths)
{
	struct strbuf b;
	struct dec d;
	char buf[4];

	/* A length that the input does not have, up to the largest. */
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		struct span in;

		strbuf_init(&b, 64);
		enc_u32(&b, (uint32_t)values[i]);
		strbuf_add_str(&b, "abc");
		in = exact(b.p, b.n);
		d = dec_of(in);
		(void)dec_bytes(&d);
		ck_assert_int_eq(dec_ok(&d), (uint32_t)values[i] <= 3);
		d = dec_of(in);
		(void)dec_raw(&d, (size_t)values[i]);
		ck_assert_int_eq(dec_ok(&d), (size_t)values[i] <= 7);
		exact_free(in);
		strbuf_clear(&b);
	}
	/* C strings: the buffer must hold the NUL, none may be inside. */
	for (size_t n = 0; n <= 6; n++) {
		strbuf_init(&b, 64);
		enc_bytes(&b, span_sub(SPAN("abcdef"), 0, n));
		d = dec_of(strbuf_span(&b));
		dec_cstr(&d, buf, sizeof(buf));
		ck_assert_int_eq(dec_ok(&d), n < sizeof(buf));
		ck_assert_uint_eq(strlen(buf), n < sizeof(buf) ? n : 0);
		d = dec_of(strbuf_span(&b));
		dec_cstr(&d, buf, 0);
		ck_assert(!dec_ok(&d));
		strbuf_clear(&b);
	}
	strbuf_init(&b, 64);
	enc_bytes(&b, SPAN("a\0"));
	d = dec_of(strbuf_span(&b));
	dec_cstr(&d, buf, sizeof(buf));
	ck_assert(!dec_ok(&d) && buf[0] == '\0');
	strbuf_reset(&b);
#if SIZE_MAX > UINT32_MAX
	enc_bytes(&b, span_make("x", (size_t)UINT32_MAX + 1));
	ck_assert(b.failed && b.n == 0);
#endif
	strbuf_clear(&b);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {base64_every_length, base64_limits, base64_vectors,
	    base64_is_strict, utf8_every_code_point, utf8_every_sequence, utf8_whole_texts,
	    codec_round_trip_at_every_cut, codec_is_big_endian, varint_forms, codec_lengths};
	TCase *tc = tcase_create("codec");

	unit_add(tc, tests, ARRAY_LEN(tests));
	return unit_finish(tc);
}
