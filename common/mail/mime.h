/*
 * The MIME structure of a message (RFC 2045, 2046), found in one pass over bytes fed in pieces of
 * any size. Result: a flat array of parts with exact byte offsets in the message as stored. No
 * recursion; memory is bounded by the limits below and by what was fed. Not thread-safe: one
 * parser, one thread at a time. Every input gives a tree with at least one part.
 */
#ifndef MS_MAIL_MIME_H
#define MS_MAIL_MIME_H

#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/base/strbuf.h"
#include "common/mail/header.h"

#define MIME_DEPTH_MAX 64           /* part 0 has depth 0; deeper parts stay opaque leaves */
#define MIME_PARTS_MAX 1000         /* the last part swallows the rest */
#define MIME_BOUNDARY_MAX 2048      /* a longer boundary parameter counts as missing */
#define MIME_PARAMS_MAX 64          /* parameters kept of one field */
#define MIME_TEXT_MAX (1024 * 1024) /* bytes of names, values and envelopes kept of one message */
#define MIME_NONE UINT32_MAX

enum mime_flag {
	MIME_MULTIPART = 1, /* children are its parts */
	MIME_MESSAGE = 2,   /* message/rfc822; its one child is the message */
	MIME_TEXT = 4,      /* text/...: has a line count in BODYSTRUCTURE */
	MIME_DEFAULT = 8,   /* no usable Content-Type: type and subtype are the default */
	MIME_OPAQUE = 16,   /* not looked into: limit reached, or no boundary */
};

struct mime_param {
	struct span name, value; /* value without quotes; RFC 2231 continuations joined */
};

struct mime_part {
	uint32_t parent, first_child, next; /* indexes into parts, or MIME_NONE */
	uint16_t depth;
	uint16_t flags;
	uint64_t header_at, header_size; /* with the empty line */
	uint64_t body_at, body_size;     /* without the line end before the boundary */
	uint64_t header_lines, body_lines;
	struct span type, subtype; /* as written; "text" "plain" by default */
	struct span encoding;      /* these: .p NULL if there is no such field */
	struct span id, description, md5, location;
	struct span language; /* tags joined by one space */
	struct span disposition;
	uint32_t param, param_count;           /* of Content-Type, in tree->params */
	uint32_t disp_param, disp_param_count; /* of Content-Disposition */
	struct span
	    envelope; /* ENVELOPE text if the part is a message: part 0, children of MIME_MESSAGE */
};

struct mime_tree {
	struct mime_part *parts;
	uint32_t count;
	struct mime_param *params;
	uint32_t param_count;
	uint64_t size;     /* bytes of the message */
	struct arena text; /* what the spans point into */
	bool is_truncated; /* some limit was reached */
};

struct mime_parser;

struct mime_parser *mime_parser_new(void);
void mime_parser_feed(struct mime_parser *p, struct span bytes);
/* Ends the input; the tree is the caller's (mime_tree_free). Call once, then free the parser. */
struct mime_tree *mime_parser_finish(struct mime_parser *p);
void mime_parser_free(struct mime_parser *p); /* NULL is fine */
/* Steps taken so far: grows linearly with the input. For tests. */
uint64_t mime_parser_steps(const struct mime_parser *p);

struct mime_tree *mime_tree_parse(struct span message); /* all at once */
void mime_tree_free(struct mime_tree *t);               /* NULL is fine */

/* A tree as one row, version byte first. */
bool mime_tree_encode(struct strbuf *out, const struct mime_tree *t);
/* Checks every index, offset and limit; NULL with ERR_CORRUPT. ERR_UNSUPPORTED: another version,
 * parse the message again. The tree does not refer to row. */
struct mime_tree *mime_tree_decode(struct span row, struct err *e);

/* Content-Type parameter of that name (case-insensitive); .p NULL if absent. */
struct span mime_param_get(
    const struct mime_tree *t, const struct mime_part *part, struct span name);

/*
 * A structured field value "token *(; name=value)" (RFC 2045 section 5.1), tolerant. Used for
 * Content-Type and Content-Disposition. Results are appended to text as NUL-free bytes and
 * delivered through fn in order; token is what stands before the first ";".
 */
struct mime_value {
	struct span in;
	struct strbuf text; /* holds token, or name and value, of the current step */
};
void mime_value_init(struct mime_value *v, struct span field_value);
/* The leading "token" or "token/token", white space and comments removed. Call first. */
struct span mime_value_token(struct mime_value *v);
/* The next parameter; spans are valid until the next call. */
bool mime_value_next(struct mime_value *v, struct mime_param *out);
void mime_value_clear(struct mime_value *v);

#endif
