/*
 * 8-bit messages for servers that take 7 bits only (RFC 6152 section 3): parts with 8-bit text
 * become quoted-printable, others base64, and their headers say so. Signed and encrypted ones are
 * never touched. The message is read twice to plan and once to convert, in pieces of any size; in
 * memory are its MIME tree and one part's header. Pure; one thread at a time.
 *
 * What decodes from the result is what would have gone out: with each CR, LF or CRLF as CRLF. Only
 * the text around the parts of a multipart, which nobody shows, gets "?" for each 8-bit byte.
 */
#ifndef MS_SMTPD_SEND_CONVERT_H
#define MS_SMTPD_SEND_CONVERT_H

#include "common/base/strbuf.h"

#define CONVERT_HEADER_MAX (256 * 1024) /* of a part that is changed */

enum convert_status {
	CONVERT_NOTHING,    /* 7 bits as it is */
	CONVERT_NEEDED,     /* by a converter */
	CONVERT_IMPOSSIBLE, /* why says it in words */
};

struct convert_plan;

struct convert_plan *convert_plan_new(void);
/* All of the message; then convert_plan_look; if that is true, all of it again. */
void convert_plan_feed(struct convert_plan *p, struct span bytes);
bool convert_plan_look(struct convert_plan *p); /* there are 8-bit bytes: read it again */
enum convert_status convert_plan_end(struct convert_plan *p);
/* After the end. A header in UTF-8 is for servers with SMTPUTF8 only (RFC 6531). */
bool convert_plan_has_utf8_header(const struct convert_plan *p);
const char *convert_plan_why(const struct convert_plan *p); /* IMPOSSIBLE */
void convert_plan_free(struct convert_plan *p);             /* NULL is fine */

struct converter;

/* The plan must stay; several converters may use it, one after the other or at once. */
struct converter *converter_new(const struct convert_plan *p);
/* Appends at most 4 * in.n + CONVERT_HEADER_MAX + 1024 bytes. */
void converter_feed(struct converter *c, struct span in, struct strbuf *out);
void converter_end(struct converter *c, struct strbuf *out); /* at most 16 bytes */
void converter_free(struct converter *c);

#endif
