#include "common/mail/charset.h"
#include "common/base/mem.h"
#include "common/base/utf8.h"

#include <errno.h>
#include <iconv.h>
#include <string.h>
#include <utf8proc.h>

#define NAME_MAX_LEN 40
#define REPLACEMENT 0xfffd

struct mail_charset {
	iconv_t cd; /* (iconv_t)-1: UTF-8 in, cleaned */
	char held[16];
	size_t held_n;
};

/* Names that mail uses for a larger charset than they say. */
static const struct {
	const char *name, *real;
} aliases[] = {
    {"gb2312", "GB18030"},
    {"gbk", "GB18030"},
    {"ks_c_5601-1987", "CP949"},
    {"euc-kr", "CP949"},
    {"shift_jis", "CP932"},
    {"x-sjis", "CP932"},
    {"iso-8859-8-i", "ISO-8859-8"},
    {"latin-1", "ISO-8859-1"},
};

static const char *const utf8_names[] = {
    "", "utf-8", "utf8", "us-ascii", "ascii", "unknown-8bit", "x-unknown", "default"};

/* Letters, digits and little else: iconv gives "/" and "," a meaning. */
static bool read_name(struct span name, char buf[NAME_MAX_LEN])
{
	name = span_trim(name);
	if (name.n >= NAME_MAX_LEN)
		return false;
	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i];

		if (!ascii_is_alnum(c) && c != '-' && c != '_' && c != '.' && c != ':' && c != '+')
			return false;
		buf[i] = c;
	}
	buf[name.n] = 0;
	return true;
}

static bool is_utf8_name(struct span name)
{
	name = span_trim(name);
	for (size_t i = 0; i < ARRAY_LEN(utf8_names); i++)
		if (span_ieq(name, span_of(utf8_names[i])))
			return true;
	return false;
}

static iconv_t open_iconv(struct span name)
{
	char buf[NAME_MAX_LEN];
	const char *real = buf;

	if (!read_name(name, buf))
		return (iconv_t)-1;
	for (size_t i = 0; i < ARRAY_LEN(aliases); i++)
		if (span_ieq(span_trim(name), span_of(aliases[i].name)))
			real = aliases[i].real;
	return iconv_open("UTF-8", real);
}

bool mail_charset_is_known(struct span name)
{
	iconv_t cd;

	if (is_utf8_name(name))
		return true;
	cd = open_iconv(name);
	if (cd == (iconv_t)-1)
		return false;
	iconv_close(cd);
	return true;
}

struct mail_charset *mail_charset_open(struct span name)
{
	struct mail_charset *c = mem_zalloc(sizeof(*c));

	c->cd = is_utf8_name(name) ? (iconv_t)-1 : open_iconv(name);
	return c;
}

void mail_charset_close(struct mail_charset *c)
{
	if (!c)
		return;
	if (c->cd != (iconv_t)-1)
		iconv_close(c->cd);
	mem_free(c);
}

/* True if s, shorter than a whole character, may be the start of one. */
static bool is_utf8_start(struct span s)
{
	static const unsigned char tails[2] = {0x80, 0xbf};
	unsigned char text[4];
	uint32_t cp;

	/* Every such start is valid with one of two tails. */
	for (size_t tail = 0; s.n && s.n < 4 && tail < 2; tail++) {
		for (size_t want = s.n + 1; want <= 4; want++) {
			struct span whole = span_make(text, want);

			memcpy(text, s.p, s.n);
			memset(text + s.n, tails[tail], want - s.n);
			if (utf8_take(&whole, &cp) && !whole.n)
				return true;
		}
	}
	return false;
}

/* How many bytes at the start are ASCII and not NUL. */
static size_t ascii_run(struct span s)
{
	size_t n = 0;

	while (n < s.n && (signed char)s.p[n] > 0)
		n++;
	return n;
}

/* Appends valid UTF-8 without NUL. The start of a character at the end stays in *in if wanted. */
static void clean(struct strbuf *out, struct span *in, bool keep_start)
{
	while (in->n) {
		struct span rest = *in, at;
		uint32_t cp;

		for (at = rest; at.n;) {
			struct span before;

			at = span_from(at, ascii_run(at));
			before = at;
			if (!at.n)
				break;
			if (!at.p[0] || !utf8_take(&at, &cp)) {
				at = before;
				break;
			}
		}
		strbuf_add(out, span_sub(rest, 0, rest.n - at.n));
		*in = at;
		if (!at.n)
			return;
		if (keep_start && at.n < 4 && at.p[0] && is_utf8_start(at))
			return;
		if (at.p[0])
			utf8_add(out, REPLACEMENT);
		*in = span_from(at, 1);
	}
}

bool mail_utf8_clean(struct strbuf *out, struct span s)
{
	clean(out, &s, false);
	return !out->failed;
}

/* Through iconv; what is left in *in is the start of a character. */
static void convert(struct mail_charset *c, struct strbuf *out, struct span *in)
{
	char bytes[1024];

	while (in->n && !out->failed) {
		/* iconv's prototype predates const; it does not write to its input. */
		char *from = (char *)(uintptr_t)in->p, *to = bytes;
		size_t left = in->n, room = sizeof(bytes);
		size_t ret = iconv(c->cd, &from, &left, &to, &room);
		int error = errno;

		mail_utf8_clean(out, span_make(bytes, sizeof(bytes) - room));
		*in = span_from(*in, in->n - left);
		if (ret != (size_t)-1)
			return;
		if (error == EINVAL && left < sizeof(c->held))
			return;
		if (error != E2BIG) {
			utf8_add(out, REPLACEMENT);
			*in = span_from(*in, 1);
		} else if (room == sizeof(bytes)) {
			return;
		}
	}
}

static void run(struct mail_charset *c, struct strbuf *out, struct span *in)
{
	if (c->cd == (iconv_t)-1)
		clean(out, in, true);
	else
		convert(c, out, in);
}

bool mail_charset_feed(struct mail_charset *c, struct strbuf *out, struct span in)
{
	/* A character cut by the last piece is completed byte by byte. */
	while (c->held_n && in.n) {
		struct span s;

		c->held[c->held_n++] = in.p[0];
		in = span_from(in, 1);
		s = span_make(c->held, c->held_n);
		run(c, out, &s);
		memmove(c->held, s.p, s.n);
		c->held_n = s.n;
		if (c->held_n == sizeof(c->held)) {
			utf8_add(out, REPLACEMENT);
			c->held_n = 0;
		}
	}
	if (in.n)
		run(c, out, &in);
	if (in.n && in.n < sizeof(c->held)) {
		memcpy(c->held, in.p, in.n);
		c->held_n = in.n;
	}
	return !out->failed;
}

bool mail_charset_finish(struct mail_charset *c, struct strbuf *out)
{
	if (c->held_n)
		utf8_add(out, REPLACEMENT);
	c->held_n = 0;
	if (c->cd != (iconv_t)-1)
		iconv(c->cd, NULL, NULL, NULL, NULL);
	return !out->failed;
}

bool mail_charset_to_utf8(struct strbuf *out, struct span charset, struct span in)
{
	struct mail_charset *c = mail_charset_open(charset);

	mail_charset_feed(c, out, in);
	mail_charset_finish(c, out);
	mail_charset_close(c);
	return !out->failed;
}

/* A run of ASCII; what follows it. */
static struct span fold_ascii(struct strbuf *out, struct span s)
{
	size_t n = 0;
	char *room;

	while (n < s.n && (signed char)s.p[n] >= 0)
		n++;
	room = strbuf_room(out, n);
	for (size_t i = 0; room && i < n; i++) {
		char c = s.p[i];

		room[i] = (char)(c + (c >= 'A' && c <= 'Z' ? 'a' - 'A' : 0));
	}
	if (room)
		strbuf_added(out, n);
	return span_from(s, n);
}

bool mail_casefold(struct strbuf *out, struct span utf8)
{
	while (utf8.n && !out->failed) {
		utf8proc_int32_t folded[8];
		utf8proc_ssize_t n;
		uint32_t cp;
		int boundary = 0;

		if ((unsigned char)utf8.p[0] < 0x80) {
			utf8 = fold_ascii(out, utf8);
			continue;
		}
		if (!utf8_take(&utf8, &cp))
			cp = REPLACEMENT;
		n = utf8proc_decompose_char((utf8proc_int32_t)cp, folded,
		    (utf8proc_ssize_t)ARRAY_LEN(folded), UTF8PROC_CASEFOLD, &boundary);
		if (n < 0 || n > (utf8proc_ssize_t)ARRAY_LEN(folded))
			utf8_add(out, cp);
		for (utf8proc_ssize_t i = 0; i < n && n <= (utf8proc_ssize_t)ARRAY_LEN(folded); i++)
			utf8_add(out, (uint32_t)folded[i]);
	}
	return !out->failed;
}
