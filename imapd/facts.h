/*
 * What SORT and THREAD compare messages by: sent dates, base subjects, first addresses, message
 * ids. Read from the cache rows once and then kept with the open mailbox, a column a kind, as long
 * as somebody uses them: messages do not change. Whoever needs them takes them off the mailbox and
 * gives them back, so that they belong to one task at a time; a second one starts with none.
 */
#ifndef MS_IMAPD_FACTS_H
#define MS_IMAPD_FACTS_H

#include "common/store/message_read.h"
#include "imapd/imap.h"

#define FACTS_BYTES_MAX ((size_t)512 * 1024 * 1024)
#define FACTS_KEPT_MS (10 * 60 * 1000)
#define FACTS_TEXT_MAX 255       /* bytes of a text that count */
#define FACTS_REFERENCES_MAX 100 /* ids of one message, the last ones */

#define FACT_NO_DAY INT32_MIN

enum fact_text {
	FACT_SUBJECT, /* base subject */
	FACT_FROM,    /* local part of the first address */
	FACT_TO,
	FACT_CC,
	FACT_DISPLAYFROM, /* its name, or else all of the address (RFC 5957) */
	FACT_DISPLAYTO,
	FACT_TEXTS
};
/* Columns as bits: those of texts, and */
#define FACT_SENT 0x40u
#define FACT_REFERENCES 0x80u
#define FACT_SENT_DAY 0x100u /* for SEARCH */

struct fact_piece {
	uint32_t at, n;
};

struct facts {
	struct mbox *mbox;
	struct timer forget;
	unsigned has; /* columns, filled for all rows */
	size_t count, capacity;
	size_t bytes;   /* allocated, about */
	uint32_t *uids; /* ascending */
	int64_t *sent;  /* seconds since 1970; INTERNALDATE where there is no date */
	int32_t *days;  /* since 1970, in the sender's zone; FACT_NO_DAY where there is no date */
	struct fact_piece *texts[FACT_TEXTS]; /* in text; in the form of i;unicode-casemap */
	bool *replies;                        /* with FACT_SUBJECT */
	uint64_t *ids;                 /* with FACT_REFERENCES: hash of the Message-ID; 0 none */
	struct fact_piece *references; /* in reference_ids */
	char *text;
	size_t text_n, text_capacity;
	uint64_t *reference_ids;
	size_t reference_n, reference_capacity;
};

/* Loop thread. Never NULL. */
struct facts *facts_take(struct mbox *m);
/* For the next one who needs them; m may be NULL: they are freed. */
void facts_give(struct facts *f, struct mbox *m);
void facts_free(struct facts *f); /* NULL is fine */

/* Reading what is missing, in slices on a reader thread. */
struct facts_load {
	struct facts *facts;
	const struct store_snapshot *snap;
	unsigned want, missing;
	bool is_started;
	size_t at, row;
	size_t failed;
	struct message m;
	struct strbuf scratch, header, utf8, mapped;
};
void facts_load_init(struct facts_load *l, struct store *store, struct facts *f,
    const struct store_snapshot *snap, unsigned want);
void facts_load_clear(struct facts_load *l);
/* 0 all is there, 1 the slice is over, -1 too much for the memory. */
int facts_load_slice(struct facts_load *l, struct db_txn *txn, struct err *err);
/* Which columns are there, for all messages of the snapshot or those before the newest? For who
 * would not read a mailbox only for this. */
bool facts_has(const struct mbox *m, unsigned columns);
/* The row of a message; *row is where the last one was (0 at first): ask in order of UIDs. */
size_t facts_row(const struct facts *f, uint32_t uid, size_t *row);
struct span facts_text(const struct facts *f, enum fact_text column, size_t row);

#endif
