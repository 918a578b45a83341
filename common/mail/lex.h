/*
 * Tokens of structured header fields (RFC 5322 section 3.2), tolerant; used inside common/mail.
 * Each function takes from lex->in and skips comments and white space behind the token. Result:
 * 1 more input follows, 0 the input ended, -1 syntax error (an unended comment or string takes all
 * that is left).
 */
#ifndef MS_MAIL_LEX_H
#define MS_MAIL_LEX_H

#include "common/base/strbuf.h"

struct mail_lex {
	struct span in;
	struct strbuf *comment; /* if given, gets the text of the latest comment */
};

bool mail_is_atext(char c); /* atom characters and all 8-bit bytes */

int mail_lex_cfws(struct mail_lex *lex);
int mail_lex_dot_atom(struct mail_lex *lex, struct strbuf *out);
int mail_lex_quoted(struct mail_lex *lex, struct strbuf *out); /* in starts with '"' */
int mail_lex_phrase(struct mail_lex *lex, struct strbuf *out);
int mail_lex_local(struct mail_lex *lex, struct strbuf *out);
int mail_lex_domain(struct mail_lex *lex, struct strbuf *out); /* in starts with '@' */

#endif
