/*
 * The page being written, and the only ways to write it: markup of ours (R, string literals only),
 * a text of the table (L), and anything else (T, S, N), which is escaped. Nothing else exists, so
 * nothing can be forgotten. HTML(h, R("<td>"), T(name), R("</td>")) writes a row of such pieces.
 */
#ifndef MS_WEBADMIN_HTML_H
#define MS_WEBADMIN_HTML_H

#include "common/base/strbuf.h"
#include "common/ipc/msg.h"

enum text_id {
#define TEXT(id, english) TEXT_##id,
#include "webadmin/text.def"
#undef TEXT
	TEXT_COUNT
};

struct span text_of(enum text_id id);

struct html {
	struct strbuf out;
};

enum piece_kind { PIECE_MARKUP, PIECE_TEXT, PIECE_NUMBER };

struct piece {
	enum piece_kind kind;
	struct span text;
	uint64_t number;
};

/* The empty strings let only literals through. */
#define R(literal)                                                                                 \
	{                                                                                          \
		PIECE_MARKUP, SPAN_INIT(literal), 0                                                \
	}
#define L(id)                                                                                      \
	{                                                                                          \
		PIECE_TEXT, text_of(TEXT_##id), 0                                                  \
	}
#define LID(id)                                                                                    \
	{                                                                                          \
		PIECE_TEXT, text_of(id), 0                                                         \
	}
#define T(span)                                                                                    \
	{                                                                                          \
		PIECE_TEXT, (span), 0                                                              \
	}
#define S(cstr)                                                                                    \
	{                                                                                          \
		PIECE_TEXT, span_of(cstr), 0                                                       \
	}
#define N(number)                                                                                  \
	{                                                                                          \
		PIECE_NUMBER, {NULL, 0}, (number)                                                  \
	}
#define HTML(h, ...)                                                                               \
	html_put((h), (const struct piece[]){__VA_ARGS__},                                         \
	    sizeof((const struct piece[]){__VA_ARGS__}) / sizeof(struct piece))

void html_init(struct html *h);
void html_put(struct html *h, const struct piece *pieces, size_t n);
/* A value of an answer in the way people read it: sizes with units, times in UTC, yes and no. */
void html_value(struct html *h, const struct ipc_value *v);
void html_bytes(struct html *h, uint64_t n);
void html_time(struct html *h, uint64_t seconds);  /* since 1970; 0: never */
void html_clock(struct html *h, uint64_t seconds); /* text only, where no element may stand */
/* For a query in a link: what is not a plain letter or digit as %XX. */
void html_url(struct html *h, struct span text);

#endif
