/*
 * The words of an IMAP command (RFC 3501 section 9), taken off a span that holds the whole command:
 * literals stand in it as "{n}" CRLF and n bytes. Total, no recursion; every function gives false
 * and leaves the span where it was (or somewhere: the command is over then) when the input is not
 * of its form. Results point into the command, or into the arena where they had to be unquoted.
 */
#ifndef MS_IMAPD_PARSER_H
#define MS_IMAPD_PARSER_H

#include "common/base/arena.h"
#include "common/store/uidset.h"

#define SEQUENCE_RANGES_MAX 10000

struct parser {
	struct span in;
	struct arena *arena;
	bool is_utf8; /* UTF8=ACCEPT is enabled (RFC 6855): mailbox names are UTF-8 */
};

bool parse_end(const struct parser *p); /* nothing is left */
bool parse_sp(struct parser *p);        /* one space */
bool parse_chr(struct parser *p, char c);
bool parse_atom(struct parser *p, struct span *out);
/* An atom that may hold what a command name, flag or section may not: up to SP, '(' or ')'. */
bool parse_word(struct parser *p, struct span *out);
bool parse_string(struct parser *p, struct span *out); /* quoted or literal */
bool parse_astring(struct parser *p, struct span *out);
bool parse_nstring(struct parser *p, struct span *out);      /* NIL: out->p NULL */
bool parse_list_mailbox(struct parser *p, struct span *out); /* astring with * and % */
bool parse_number(struct parser *p, uint64_t max, uint64_t *out);
bool parse_nz_number(struct parser *p, uint32_t *out);
/* A mailbox name in UTF-8, decoded from modified UTF-7 in the arena unless the parser is_utf8. */
bool parse_mailbox(struct parser *p, struct span *out);

/* A sequence-set as it was typed; '*' is 0. */
struct sequence {
	struct uid_range *r; /* first, last: either may be 0; not ordered */
	size_t n;
	bool is_saved; /* "$" (RFC 5182): what the last SEARCH kept; r is empty */
};
bool parse_sequence(struct parser *p, struct sequence *out);

/* flag-list or flags without parentheses: system flags as bits, keywords as names. */
struct flag_list {
	uint32_t flags;
	struct span *keywords;
	size_t keyword_count;
};
#define FLAG_LIST_MAX 128
bool parse_flag_list(struct parser *p, struct flag_list *out);
bool parse_flags_bare(struct parser *p, struct flag_list *out); /* flag *(SP flag) */

/* "(a b c)" of atoms or astrings: at most max; spans in the arena. */
bool parse_astring_list(struct parser *p, size_t max, struct span **out, size_t *count);

#endif
