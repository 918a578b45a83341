/* What the files of FETCH share (RFC 3501 6.4.5; CONDSTORE, QRESYNC, BINARY, PREVIEW, SAVEDATE,
 * OBJECTID). */
#ifndef MS_IMAPD_FETCH_H
#define MS_IMAPD_FETCH_H

#include "common/mail/charset.h"
#include "common/store/message_read.h"
#include "imapd/imap.h"

#define FETCH_FIELDS_MAX 1000 /* names in one HEADER.FIELDS */

enum fetch_kind {
	FETCH_FLAGS,
	FETCH_UID,
	FETCH_INTERNALDATE,
	FETCH_SIZE,
	FETCH_MODSEQ,
	FETCH_SAVEDATE,
	FETCH_EMAILID,
	FETCH_THREADID,
	FETCH_ENVELOPE,
	FETCH_BODY,
	FETCH_BODYSTRUCTURE,
	FETCH_SECTION, /* bytes */
	FETCH_BINARY,  /* a part, decoded */
	FETCH_BINARY_SIZE,
	FETCH_PREVIEW,
};

struct fetch_item {
	struct fetch_item *next;
	enum fetch_kind kind;
	struct span label; /* as it stands in the answer, without the partial's origin */
	struct mail_section section;
	struct span *fields; /* HEADER.FIELDS */
	size_t field_count;
	bool is_kept; /* cache rows keep all of them */
	bool has_partial;
	bool is_lazy; /* PREVIEW */
	uint32_t partial_at, partial_n;
};

/* What FETCH was asked for; all in the command's arena. */
struct fetch_request {
	struct fetch_item *first, *last;
	bool is_uid;
	bool is_utf8; /* the client reads UTF-8 in headers (RFC 6855): nothing is downgraded */
	bool needs_content; /* something that is not the same of a downgraded message */
	bool needs_store;   /* some item is not in the snapshot */
	bool needs_cache, needs_fields, needs_body, needs_binary;
	bool sets_seen;  /* some item is not a PEEK */
	bool has_modseq; /* asked for, or by CHANGEDSINCE */
	bool has_changedsince, wants_vanished;
	uint64_t changedsince;
};

/* The items of a command: one, a macro, or a list in parentheses. */
bool fetch_parse_items(struct parser *p, struct fetch_request *rq);
/* " (CHANGEDSINCE n VANISHED)" or nothing. */
bool fetch_parse_modifiers(struct parser *p, struct fetch_request *rq);

/* --- writing one message, a step at a time ------------------------------------------------------
 */
/* A part on its way through its decoder: once to count, once to write. */
struct fetch_binary {
	const struct fetch_item *item; /* NULL: none is being written */
	bool is_counted, has_nul;
	uint64_t start, length; /* of the encoded bytes */
	uint64_t at, left;      /* those still to go through */
	uint64_t size;          /* decoded bytes */
	uint64_t skip, want;    /* decoded bytes to leave out, then to write */
	enum mail_encoding encoding;
	struct mail_decoder decoder;
	struct strbuf in, decoded;
};

struct fetch_writer {
	const struct store_snapshot *snap;
	const struct fetch_request *rq;
	struct uidset recent;
	bool tells_modseq; /* of messages that become \Seen */
	struct message m;
	struct strbuf out; /* emptied by who takes it, between slices */
	struct strbuf scratch;

	/* the message being written */
	const struct store_message *row;
	size_t index;
	const struct fetch_item *item;      /* the next one */
	const struct store_message *marked; /* as it is since it became \Seen by this; or NULL */
	bool is_begun, has_item;
	bool is_downgraded;
	uint64_t at, left; /* bytes of the message that an item still has to write */
	struct fetch_binary binary;
};

void fetch_writer_init(struct fetch_writer *w, struct store *store,
    const struct store_snapshot *snap, const struct fetch_request *rq);
void fetch_writer_clear(struct fetch_writer *w);
/* Sets the next message. marked: how it is since it became \Seen by this; NULL if it did not. */
void fetch_writer_set(struct fetch_writer *w, size_t index, const struct store_message *marked);
/* Is it told in another form than it is stored? Then it needs the store for its size too. */
bool fetch_is_downgraded(const struct fetch_request *rq, const struct store_message *m);
/*
 * Writes on with the message that was set: 0 it is complete, 1 the slice is over (out is full, or
 * enough was done), -1 err: ERR_UNSUPPORTED is an encoding that BINARY cannot undo.
 */
int fetch_write(struct fetch_writer *w, struct err *err);

/* For the items whose bytes come from the message (fetch_section.c, fetch_binary.c). */
void fetch_label(struct fetch_writer *w, const struct fetch_item *it); /* and what goes before */
int fetch_section(struct fetch_writer *w, const struct fetch_item *it, struct err *err);
/* Can all that is asked for be decoded? */
int fetch_binary_check(struct fetch_writer *w, struct err *err);
int fetch_binary(struct fetch_writer *w, const struct fetch_item *it, struct err *err);
int fetch_preview(struct fetch_writer *w, const struct fetch_item *it, struct err *err);
int fetch_binary_more(struct fetch_writer *w, struct err *err);

#endif
