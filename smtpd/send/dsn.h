/*
 * Delivery status notifications (RFC 3464, RFC 6522, RFC 6533): the message that tells a sender
 * what became of his. Above what programs read stands, in plain words, what happened and what can
 * be done. Pure functions.
 */
#ifndef MS_SMTPD_SEND_DSN_H
#define MS_SMTPD_SEND_DSN_H

#include "common/base/strbuf.h"

enum dsn_action { DSN_FAILED, DSN_DELAYED, DSN_RELAYED, DSN_DELIVERED };

struct dsn_rcpt {
	enum dsn_action action;
	struct span address;
	struct span orcpt; /* "rfc822;..."; may be empty */
	struct span host;  /* that said so: "mx.example [192.0.2.1]"; empty: this server */
	struct span reply; /* "550 5.1.1 ..." */
	int64_t until;     /* DELAYED: given up then */
};

struct dsn {
	const char *our_name; /* server.hostname */
	struct span to;       /* who is told */
	struct span from;     /* the original sender; differs from to when postmaster is told */
	struct span envid;
	int64_t arrival, now;
	const struct dsn_rcpt *rcpts;
	size_t count;
	struct span original; /* header, or the whole message */
	bool is_whole;        /* original has its body */
	bool is_utf8;         /* addresses or headers are: RFC 6533 */
	const char *unique;   /* for boundary and Message-ID: hex digits */
};

/* The status code of a reply: its own, or one that its first digit allows. */
void dsn_status(struct span reply, char out[16]);
/* In CRLF lines. */
void dsn_write(struct strbuf *out, const struct dsn *d);

/* cause.c: what a reply means and what to do, in words. Never NULL. */
struct cause {
	const char *what, *next;
};
const struct cause *cause_of(struct span reply);

#endif
