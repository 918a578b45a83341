/*
 * Mail addresses: the strict form of SMTP commands (RFC 5321 section 4.1.2, RFC 6531) and the
 * tolerant form of header fields (RFC 5322 sections 3.4 and 4.4) as IMAP's ENVELOPE shows them.
 * Pure functions, any thread. Spans point into the input or into the buffer the caller gave.
 */
#ifndef MS_MAIL_ADDRESS_H
#define MS_MAIL_ADDRESS_H

#include "common/base/err.h"
#include "common/base/strbuf.h"

#define MAIL_LOCAL_MAX 64   /* bytes of a local part, without quotes */
#define MAIL_DOMAIN_MAX 255 /* bytes of a domain or address literal */
#define MAIL_PATH_MAX 256   /* bytes of a path with its brackets, source route not counted */
#define MAIL_PARAM_MAX 512  /* bytes of one ESMTP parameter */

/*
 * local is the canonical local part: without quotes and backslashes, case kept. domain is lower
 * case ASCII (U-labels keep their bytes), or an address literal with its brackets. Both empty: the
 * null sender. Only the domain empty: <postmaster>.
 */
struct mail_address {
	struct span local, domain;
};

enum mail_address_flag {
	MAIL_ADDRESS_UTF8 = 1,       /* SMTPUTF8: valid UTF-8 allowed in both halves */
	MAIL_ADDRESS_NULL = 2,       /* "<>" allowed: MAIL FROM */
	MAIL_ADDRESS_POSTMASTER = 4, /* "<postmaster>" allowed, any case: RCPT TO */
};

/*
 * Takes a path "<...>" from the start of *in, which then begins behind ">". A source route
 * ("<@a,@b:user@host>") is checked and dropped. Halves are written into buf. Control characters,
 * NUL, CR and LF are refused everywhere. -1 with ERR_INVALID (501, 553) or ERR_LIMIT (too long);
 * *in is then untouched. ERR_UNSUPPORTED: 8-bit bytes without MAIL_ADDRESS_UTF8 (553 5.6.7).
 */
int mail_path_take(struct span *in, unsigned flags, char buf[MAIL_PATH_MAX],
    struct mail_address *out, struct err *e);

/* The same for a bare "local@domain" (settings, commands, AUTH=); the whole span must match. */
int mail_address_parse(struct span in, unsigned flags, char buf[MAIL_PATH_MAX],
    struct mail_address *out, struct err *e);

/* Appends local@domain, local part quoted if it has to be, domain in lower case. The null sender
 * gives nothing. mail_address_parse of the result gives the same address. */
bool mail_address_format(struct strbuf *out, const struct mail_address *a);
/* The same with "<" and ">" around it. */
bool mail_path_format(struct strbuf *out, const struct mail_address *a);

/* LDH labels of 1 to 63 bytes joined by dots, at most 255, no dot at the end; with utf8 also bytes
 * of valid UTF-8 (U-labels). Not address literals. */
bool mail_domain_is_valid(struct span domain, bool utf8);
/* "[192.0.2.1]" or "[IPv6:2001:db8::1]". */
bool mail_literal_is_valid(struct span domain);

/* One ESMTP parameter, RFC 5321 section 4.1.2: keyword and value; value.p is NULL without "=". */
struct mail_param {
	struct span key, value;
};

/*
 * Takes the next parameter from *in, what follows a path: "*( SP+ KEY [=VALUE] )" up to the end.
 * 1: one taken; 0: nothing left (trailing spaces are fine); -1: ERR_INVALID.
 */
int mail_param_next(struct span *in, struct mail_param *out, struct err *e);
/* xtext (RFC 3461 section 4) of a value, both ways. Decoding refuses bad "+XX" and control
 * characters. */
bool mail_xtext_decode(struct strbuf *out, struct span in);
bool mail_xtext_encode(struct strbuf *out, struct span in);

/*
 * Address lists of header fields. The reader is total and takes linear time: any bytes give some
 * sequence of entries, at most MAIL_LIST_MAX of them. What is missing is filled in the way most
 * clients know: local "MISSING_MAILBOX", domain "MISSING_DOMAIN", or domain "SYNTAX_ERROR" for a
 * broken "<...>"; .bad says so.
 */
#define MAIL_LIST_MAX 4096

enum mail_entry_kind {
	MAIL_ENTRY_MAILBOX,
	MAIL_ENTRY_GROUP,     /* group begins: its name is in .local, as IMAP wants it */
	MAIL_ENTRY_GROUP_END, /* all four NULL */
};

/* Unused members have .p NULL (NIL). Text is unfolded, unquoted, comments removed, encoded words
 * left as they are. Valid until the next call for the same reader. */
struct mail_entry {
	enum mail_entry_kind kind;
	struct span name, route, local, domain;
	bool bad;
};

struct mail_list {
	struct span in;
	struct strbuf text; /* holds the parts of the current entry */
	unsigned count;
	bool in_group;
	bool is_done;
};

void mail_list_init(struct mail_list *l, struct span value);
bool mail_list_next(struct mail_list *l, struct mail_entry *out);
void mail_list_clear(struct mail_list *l);

#endif
