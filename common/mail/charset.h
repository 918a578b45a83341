/*
 * Text for search and display: transfer decoding, conversion to UTF-8, case folding. Each struct
 * belongs to one thread at a time.
 */
#ifndef MS_MAIL_CHARSET_H
#define MS_MAIL_CHARSET_H

#include "common/base/strbuf.h"

/* --- Content-Transfer-Encoding, in pieces of any size --- */
enum mail_encoding {
	MAIL_ENCODING_NONE, /* 7bit, 8bit, binary, none and unknown: bytes pass */
	MAIL_ENCODING_BASE64,
	MAIL_ENCODING_QP,
};

struct mail_decoder {
	enum mail_encoding encoding;
	uint32_t bits; /* base64: collected bits */
	uint8_t have;  /* base64: characters of the current group */
	bool is_ended; /* base64: padding seen */
	bool is_bad;   /* something was not in the alphabet; decoding went on */
	uint8_t held;  /* QP: bytes of an unfinished "=XX" ... */
	char hold[4];
	size_t spaces; /* QP: white space that may turn out to end a line */
	char pad[80];  /* QP: that white space (a longer run is passed on) */
};

enum mail_encoding mail_encoding_of(struct span name); /* a Content-Transfer-Encoding value */
void mail_decoder_init(struct mail_decoder *d, enum mail_encoding encoding);
bool mail_decoder_feed(struct mail_decoder *d, struct strbuf *out, struct span in);
bool mail_decoder_finish(struct mail_decoder *d, struct strbuf *out);

/* --- charsets --- */
struct mail_charset;

/* True if text in that charset can be converted (an empty name is US-ASCII). */
bool mail_charset_is_known(struct span name);
/* For pieces of any size. Never NULL: an unknown charset passes ASCII and turns the rest into
 * U+FFFD, unless the text is UTF-8. */
struct mail_charset *mail_charset_open(struct span name);
bool mail_charset_feed(struct mail_charset *c, struct strbuf *out, struct span in);
bool mail_charset_finish(struct mail_charset *c, struct strbuf *out);
void mail_charset_close(struct mail_charset *c);
/* All at once. False if out is full. The output is valid UTF-8. */
bool mail_charset_to_utf8(struct strbuf *out, struct span charset, struct span in);
/* Appends s with invalid bytes replaced by U+FFFD and NUL dropped. */
bool mail_utf8_clean(struct strbuf *out, struct span s);

/* Case folding for search: every code point of valid UTF-8 folded, accents kept. The result of
 * pieces cut between code points is the folded whole. Invalid bytes become U+FFFD. */
bool mail_casefold(struct strbuf *out, struct span utf8);

/* --- streaming search: is the key in the text, whatever the split --- */
struct mail_matcher;

/* key is folded here. NULL if the key is empty or over 1 KiB after folding. */
struct mail_matcher *mail_matcher_new(struct span key);
/* text is folded UTF-8, in pieces of any size. True from the moment that the key was seen. */
bool mail_matcher_feed(struct mail_matcher *m, struct span text);
void mail_matcher_reset(struct mail_matcher *m);
void mail_matcher_free(struct mail_matcher *m);

#endif
