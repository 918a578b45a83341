/*
 * Mailboxes as IMAP answers name and describe them; shared by the commands that do. The write
 * functions append to a buffer of the caller's; any thread.
 */
#ifndef MS_IMAPD_MAILBOX_H
#define MS_IMAPD_MAILBOX_H

#include "imapd/parser.h"

#include "common/store/store.h"

/* A mailbox name as an astring: in modified UTF-7 (RFC 3501 section 5.1.3), or with UTF8=ACCEPT in
 * UTF-8 (RFC 6855 section 3). */
void write_mailbox(struct strbuf *b, struct span name, bool is_utf8);
/* The object id of a mailbox (RFC 8474), without parentheses. */
void write_mailbox_id(struct strbuf *b, uint64_t id);

/* Data items of STATUS: RFC 3501, 7162, 8438, 8474, 7889, 9208. */
enum status_item {
	STATUS_MESSAGES = 1u << 0,
	STATUS_RECENT = 1u << 1,
	STATUS_UIDNEXT = 1u << 2,
	STATUS_UIDVALIDITY = 1u << 3,
	STATUS_UNSEEN = 1u << 4,
	STATUS_HIGHESTMODSEQ = 1u << 5,
	STATUS_SIZE = 1u << 6,
	STATUS_MAILBOXID = 1u << 7,
	STATUS_DELETED = 1u << 8,
	STATUS_DELETED_STORAGE = 1u << 9,
	STATUS_APPENDLIMIT = 1u << 10,
};

struct mailbox_status {
	uint32_t recent;
	uint64_t deleted_bytes;
};

/* "(ITEM ...)": bits of enum status_item. */
bool parse_status_items(struct parser *p, unsigned *items);
/* What does not stand in mb, if it is asked for. Reader thread. */
int status_load(struct db_txn *txn, uint64_t account, const struct store_mailbox *mb,
    unsigned items, struct mailbox_status *st, struct err *err);
/* "* STATUS name (...)" and CRLF. */
void write_status(struct strbuf *b, const struct store_mailbox *mb, const struct mailbox_status *st,
    unsigned items, uint64_t append_limit, bool is_utf8);

#endif
