/*
 * SEARCH (RFC 3501 6.4.4; ESEARCH, SEARCHRES, WITHIN, CONDSTORE, SAVEDATE, OBJECTID), and what SORT
 * and THREAD take from it. The keys are a tree in an array, children behind their parents, so that
 * one walk from the end computes it for a message. Keys that need more than the snapshot are
 * computed only for messages that the cheaper ones did not decide: first what the cache row
 * answers, then the header, then the body.
 */
#ifndef MS_IMAPD_SEARCH_H
#define MS_IMAPD_SEARCH_H

#include "common/mail/charset.h"
#include "common/mail/envelope.h"
#include "common/mail/imapstr.h"
#include "common/store/message_read.h"
#include "imapd/facts.h"
#include "imapd/imap.h"

#define SEARCH_KEYS_MAX 4000
#define SEARCH_DEPTH_MAX 200
#define SEARCH_TEXT_MAX 1024  /* bytes of a text to search for, folded */
#define SEARCH_BODIES_MAX 100 /* BODY and TEXT keys: each looks at every byte of every message */

enum search_op {
	SEARCH_AND, /* groups */
	SEARCH_OR,
	SEARCH_NOT,
	SEARCH_ALL, /* of the snapshot */
	SEARCH_NONE,
	SEARCH_FLAG,
	SEARCH_KEYWORD,
	SEARCH_RECENT,
	SEARCH_NEW,
	SEARCH_NUMBERS, /* sequence numbers */
	SEARCH_UIDS,
	SEARCH_DATE, /* INTERNALDATE */
	SEARCH_SAVEDATE,
	SEARCH_YOUNGER,
	SEARCH_OLDER,
	SEARCH_LARGER,
	SEARCH_SMALLER,
	SEARCH_MODSEQ,
	SEARCH_EMAILID,
	SEARCH_THREADID, /* of the object's row */
	SEARCH_SENTDATE, /* of the cache row */
	SEARCH_ENVELOPE,
	SEARCH_HEADER, /* of the header */
	SEARCH_BODY,   /* of the whole message */
	SEARCH_TEXT,
};

enum search_relation { SEARCH_BEFORE, SEARCH_ON, SEARCH_SINCE };

struct search_key {
	enum search_op op;
	uint32_t first, last, next; /* children; 0: none */
	bool is_wanted;             /* flag or keyword: set or not */
	uint32_t flag;
	uint64_t number; /* size, seconds, modseq, object, keyword bit */
	enum search_relation relation;
	int64_t day;
	struct uidset set;
	struct span name;             /* HEADER */
	bool is_kept;                 /* cache rows keep that field */
	enum mail_envelope_item item; /* ENVELOPE */
	struct span text;             /* folded; empty: the field is there */
	struct mail_matcher *matcher; /* BODY, TEXT */
	bool is_found;                /* in the message at hand */
};

struct search_program {
	struct search_key *keys; /* in the arena; keys[0] is the AND of all */
	size_t count;
	enum search_op most; /* the dearest key */
	bool has_modseq, has_sent;
	unsigned bodies; /* matchers */
	int item_count;  /* the envelope's items that are asked for, from the first on */
};

enum search_parsed { SEARCH_GOOD, SEARCH_BAD, SEARCH_BADCHARSET, SEARCH_TOO_LONG };

/* " [CHARSET x] keys": all that is left. Charset is "" where SORT and THREAD have taken it. */
enum search_parsed search_parse(
    struct session *s, struct parser *p, struct span charset, struct search_program *out);
void search_program_clear(struct search_program *g); /* harmless on a zeroed one */

/* --- one message --------------------------------------------------------------------------------
 */
/* A body on its way through decoder, charset and folding to the matchers. */
struct search_body {
	bool is_active;
	uint32_t part;
	bool in_part;
	uint64_t at, left; /* of the part */
	struct mail_decoder decoder;
	struct mail_charset *charset;
};

enum search_answer { SEARCH_FALSE, SEARCH_TRUE, SEARCH_UNKNOWN };

struct search_state {
	struct search_program *program;
	struct store_snapshot *snap; /* the owner's */
	struct uidset recent;
	int64_t now;
	struct message m;
	signed char *answers; /* of the keys, for this message */
	bool *needed;
	bool in_message;
	size_t header_at;    /* fields before it are done, if the last slice ended among them */
	bool header_is_kept; /* they are those of the cache row */
	struct search_body body;
	struct strbuf raw, decoded, utf8, folded;
	struct span items[MAIL_ENVELOPE_ITEMS];
	bool has_items;
	const struct facts *facts; /* with FACT_SENT_DAY; or NULL */
	size_t fact_row, index;
	size_t dates;  /* sent dates that were read from rows */
	uint64_t cost; /* of what was done, in messages that only the snapshot was asked about */
};

void search_state_init(struct search_state *st, struct session *s, struct store_snapshot *snap,
    struct search_program *g);
void search_state_clear(struct search_state *st);
/* Does messages[index] match? SEARCH_UNKNOWN: the slice is over, call again; -1 err. */
int search_match(struct search_state *st, size_t index, struct err *err);

/* Of search_text.c: the answers of those keys that are needed. 0, 1 (more to do), -1. */
int search_headers(struct search_state *st, struct err *err);
int search_bodies(struct search_state *st, struct err *err);
void search_body_end(struct search_state *st);
/* Is the folded text in this header value? */
bool search_value(struct search_state *st, struct span value, struct span text);

/* --- a whole mailbox ----------------------------------------------------------------------------
 */
struct searching {
	struct task task;
	struct search_program program;
	struct search_state state;
	struct store_snapshot *snap;
	size_t next;
	unsigned char *hits; /* a bit for each message of snap */
	size_t count, first, last;
	uint64_t modseq; /* the highest of a hit */
	bool saves;      /* a NO empties what SEARCHRES kept */
	size_t failed;
	struct err why; /* of the first that failed */
	struct facts *facts;
	struct facts_load load; /* of sent days that are not there yet */
	bool has_loaded;
	/* All are found; on the loop. */
	void (*found)(struct searching *x);
	void (*clear)(struct searching *x); /* frees what the owner added; or NULL */
};

/* size is that of a struct whose first member is the searching. The session's task. */
void *searching_new(struct session *s, size_t size);
/* Parses the rest of the command and searches; if that fails, it answers and frees the task. */
void searching_start(struct searching *x, struct parser *p, struct span charset);
bool searching_is_hit(const struct searching *x, size_t index);

/* --- RETURN (RFC 4731, 5182, 5267) --------------------------------------------------------------
 */
#define RETURN_MIN 1u
#define RETURN_MAX 2u
#define RETURN_ALL 4u
#define RETURN_COUNT 8u
#define RETURN_SAVE 16u

struct search_returns {
	bool is_extended; /* there was a RETURN */
	unsigned what;
};
/* "RETURN (MIN MAX) " or nothing. */
bool search_parse_returns(struct parser *p, struct search_returns *r);
/* "* ESEARCH (TAG ...) ..." up to COUNT; first and last are numbers as they are told. */
void search_tell_extended(
    struct searching *x, const struct search_returns *r, uint32_t first, uint32_t last);
void search_write_modseq(const struct searching *x, bool is_extended, struct strbuf *b);
/* "$" becomes what was found; with MIN or MAX and nothing more only those, indexes of messages. */
void search_save(struct searching *x, const struct search_returns *r, size_t first, size_t last);

/* "NO ..." if messages could not be read, else ok. */
const char *searching_result(const struct searching *x, const char *ok);

#endif
