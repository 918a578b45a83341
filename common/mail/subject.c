#include "common/mail/subject.h"

#include "common/base/mem.h"
#include "common/base/utf8.h"
#include "common/mail/words.h"

#include <utf8proc.h>

/* Decoded, every run of white space one space, none at the ends. */
static void normalise(struct strbuf *out, struct span value)
{
	struct strbuf text;
	bool has_space = false;

	strbuf_init(&text, (size_t)4 * MAIL_SUBJECT_MAX);
	mail_words_decode(&text, span_sub(value, 0, MAIL_SUBJECT_MAX));
	for (size_t i = 0; i < text.n; i++) {
		char c = text.p[i];

		if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
			has_space = out->n > 0;
			continue;
		}
		if (has_space)
			strbuf_add_chr(out, ' ');
		has_space = false;
		strbuf_add_chr(out, c);
	}
	strbuf_clear(&text);
}

static bool take_spaces(struct span *s)
{
	bool is_taken = false;

	while (span_take_chr(s, ' '))
		is_taken = true;
	return is_taken;
}

/* subj-blob = "[" *BLOBCHAR "]" *WSP */
static bool take_blob(struct span *s)
{
	size_t n = 1;

	if (s->n == 0 || s->p[0] != '[')
		return false;
	while (n < s->n && s->p[n] != '[' && s->p[n] != ']')
		n++;
	if (n == s->n || s->p[n] != ']')
		return false;
	*s = span_from(*s, n + 1);
	take_spaces(s);
	return true;
}

/* subj-refwd = ("re" / ("fw" ["d"])) *WSP [subj-blob] ":" */
static bool take_refwd(struct span *s)
{
	struct span rest = *s;

	if (!span_take_iword(&rest, SPAN("re")) && !span_take_iword(&rest, SPAN("fwd")) &&
	    !span_take_iword(&rest, SPAN("fw")))
		return false;
	take_spaces(&rest);
	take_blob(&rest);
	if (!span_take_chr(&rest, ':'))
		return false;
	*s = rest;
	return true;
}

/* Leaders and blobs from the front; a run of blobs is gone through twice at most. */
static void take_leaders(struct span *s, bool *is_reply)
{
	while (true) {
		struct span rest = *s;

		take_spaces(&rest);
		*s = rest;
		while (take_blob(&rest))
			;
		if (!take_refwd(&rest))
			break;
		*is_reply = true;
		*s = rest;
	}
	while (true) {
		struct span rest = *s;

		if (!take_blob(&rest) || rest.n == 0)
			return;
		*s = rest;
	}
}

static void take_trailers(struct span *s, bool *is_reply)
{
	while (s->n > 0) {
		if (s->p[s->n - 1] == ' ') {
			s->n--;
		} else if (s->n >= 5 && span_ieq(span_from(*s, s->n - 5), SPAN("(fwd)"))) {
			s->n -= 5;
			*is_reply = true;
		} else {
			return;
		}
	}
}

bool mail_base_subject(struct strbuf *out, struct span value, bool *is_reply)
{
	struct strbuf text;
	struct span s;

	*is_reply = false;
	strbuf_init(&text, (size_t)4 * MAIL_SUBJECT_MAX);
	normalise(&text, value);
	s = strbuf_span(&text);
	while (true) {
		take_trailers(&s, is_reply);
		take_leaders(&s, is_reply);
		if (s.n < 6 || !span_istarts(s, SPAN("[fwd:")) || s.p[s.n - 1] != ']')
			break;
		s = span_sub(s, 5, s.n - 6);
		*is_reply = true;
	}
	strbuf_add(out, s);
	strbuf_clear(&text);
	return !out->failed;
}

bool mail_casemap(struct strbuf *out, struct span utf8)
{
	while (utf8.n && !out->failed) {
		utf8proc_int32_t mapped[20];
		utf8proc_ssize_t n;
		uint32_t cp;
		int boundary = 0;

		if ((unsigned char)utf8.p[0] < 0x80) {
			strbuf_add_chr(out, ascii_upper(utf8.p[0]));
			utf8 = span_from(utf8, 1);
			continue;
		}
		if (!utf8_take(&utf8, &cp))
			cp = 0xfffd;
		n = utf8proc_decompose_char(utf8proc_totitle((utf8proc_int32_t)cp), mapped,
		    (utf8proc_ssize_t)ARRAY_LEN(mapped), UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
		    &boundary);
		if (n < 0 || n > (utf8proc_ssize_t)ARRAY_LEN(mapped))
			utf8_add(out, cp);
		for (utf8proc_ssize_t i = 0; n <= (utf8proc_ssize_t)ARRAY_LEN(mapped) && i < n; i++)
			utf8_add(out, (uint32_t)mapped[i]);
	}
	return !out->failed;
}
