/* IMAP's ENVELOPE (RFC 3501 section 7.4.2) and the message ids of a header (RFC 5322 3.6.4). */
#ifndef MS_MAIL_ENVELOPE_H
#define MS_MAIL_ENVELOPE_H

#include "common/mail/header.h"

/*
 * Appends "(date subject from sender reply-to to cc bcc in-reply-to message-id)" for a header (a
 * whole message will do). sender and reply-to default to from. Of a repeated field the first
 * counts, of To, Cc and Bcc all. False once out is full. Linear time.
 */
bool mail_envelope_write(struct strbuf *out, struct span header);
/* The envelope of a message without any field. */
bool mail_envelope_write_empty(struct strbuf *out);

/* The text of an ENVELOPE, read again. Total: false on what mail_envelope_write does not write. */
enum mail_envelope_item {
	MAIL_ENVELOPE_DATE,
	MAIL_ENVELOPE_SUBJECT,
	MAIL_ENVELOPE_FROM,
	MAIL_ENVELOPE_SENDER,
	MAIL_ENVELOPE_REPLY_TO,
	MAIL_ENVELOPE_TO,
	MAIL_ENVELOPE_CC,
	MAIL_ENVELOPE_BCC,
	MAIL_ENVELOPE_IN_REPLY_TO,
	MAIL_ENVELOPE_MESSAGE_ID,
	MAIL_ENVELOPE_ITEMS
};
/* Where the first count items stand in it, still in their IMAP form; they point into text. What is
 * behind them is not looked at. */
bool mail_envelope_items(struct span text, struct span items[MAIL_ENVELOPE_ITEMS], int count);
/* Takes the next address off an item of addresses (its parentheses: harmless to be there or not);
 * NIL gives .p NULL. What had to be unquoted stands in scratch, until its next reset. */
struct mail_envelope_address {
	struct span name, route, local, domain;
};
bool mail_envelope_address(
    struct span *item, struct strbuf *scratch, struct mail_envelope_address *out);

/* Takes the next "<id>" of a Message-ID, In-Reply-To or References value; id is without brackets,
 * still as written. False if there is none left. */
bool mail_msgid_next(struct span *value, struct span *id);
/* The message id of a header, without brackets; an empty span if there is none. */
struct span mail_msgid_of(struct span header);

#endif
