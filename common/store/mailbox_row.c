/* The row of a mailbox: counters, keyword names. */
#include "common/store/store_int.h"

#include <string.h>

static void mailbox_key(struct db_key *k, uint64_t account, uint64_t id)
{
	store_key(k, account, KIND_MAILBOX);
	db_key_u64(k, id);
}

void mailbox_row_encode(struct strbuf *b, const struct mailbox_row *row)
{
	const struct store_mailbox *mb = &row->mb;

	enc_u8(b, ROW_VERSION);
	enc_str(b, mb->name);
	enc_u8(b, mb->is_noselect);
	enc_u32(b, mb->uidvalidity);
	enc_u32(b, mb->uidnext);
	enc_u64(b, mb->highestmodseq);
	enc_u64(b, mb->modseq_created);
	enc_u32(b, mb->messages);
	enc_u32(b, mb->unseen);
	enc_u32(b, mb->deleted);
	enc_u64(b, mb->bytes);
	enc_u32(b, mb->special_use);
	enc_u32(b, mb->recent_uid);
	enc_u64(b, row->vanished_floor);
	enc_u32(b, row->vanished_rows);
	enc_u8(b, (uint8_t)row->keyword_count);
	for (size_t i = 0; i < row->keyword_count; i++)
		enc_str(b, row->keywords[i]);
}

bool mailbox_row_decode(struct span val, uint64_t id, struct mailbox_row *row)
{
	struct store_mailbox *mb = &row->mb;
	struct dec d = dec_of(val);

	if (dec_u8(&d) != ROW_VERSION)
		return false;
	*mb = (struct store_mailbox){.id = id};
	dec_cstr(&d, mb->name, sizeof(mb->name));
	mb->is_noselect = dec_u8(&d) != 0;
	mb->uidvalidity = dec_u32(&d);
	mb->uidnext = dec_u32(&d);
	mb->highestmodseq = dec_u64(&d);
	mb->modseq_created = dec_u64(&d);
	mb->messages = dec_u32(&d);
	mb->unseen = dec_u32(&d);
	mb->deleted = dec_u32(&d);
	mb->bytes = dec_u64(&d);
	mb->special_use = dec_u32(&d);
	mb->recent_uid = dec_u32(&d);
	row->vanished_floor = dec_u64(&d);
	row->vanished_rows = dec_u32(&d);
	row->keyword_count = dec_u8(&d);
	if (row->keyword_count > STORE_KEYWORDS_MAX)
		return false;
	for (size_t i = 0; i < row->keyword_count; i++)
		dec_cstr(&d, row->keywords[i], sizeof(row->keywords[i]));
	return dec_done(&d);
}

int mailbox_row_put(
    struct db_txn *txn, uint64_t account, const struct mailbox_row *row, struct err *err)
{
	struct strbuf b;
	struct db_key k;
	int rc;

	strbuf_init(&b, MAILBOX_ROW_MAX);
	mailbox_row_encode(&b, row);
	mailbox_key(&k, account, row->mb.id);
	rc = b.failed ? err_set(err, ERR_LIMIT, "a mailbox row is too long")
		      : db_put(txn, db_key_span(&k), strbuf_span(&b), err);
	strbuf_clear(&b);
	return rc;
}

int mailbox_row_get(
    struct db_txn *txn, uint64_t account, uint64_t id, struct mailbox_row *row, struct err *err)
{
	struct err why = ERR_INIT;
	struct db_key k;
	struct span val;

	mailbox_key(&k, account, id);
	if (db_get(txn, db_key_span(&k), &val, &why) < 0)
		return why.code == ERR_NOT_FOUND
			   ? err_set(err, ERR_NOT_FOUND, "the mailbox has been deleted")
			   : err_set(err, why.code, "mailbox %llu: %s", (unsigned long long)id,
				 why.text);
	return mailbox_row_decode(val, id, row) ? 0 : store_corrupt(err, account, "a mailbox row");
}

int mailbox_row_open(
    struct db_txn *txn, uint64_t account, uint64_t id, struct mailbox_row *row, struct err *err)
{
	if (mailbox_row_get(txn, account, id, row, err) < 0)
		return -1;
	if (row->mb.is_noselect)
		return err_set(err, ERR_INVALID, "\"%s\" holds no messages", row->mb.name);
	return 0;
}

void mailbox_row_count(struct mailbox_row *row, const struct store_message *m, int sign)
{
	struct store_mailbox *mb = &row->mb;
	uint32_t one = sign > 0 ? 1u : UINT32_MAX; /* modulo 2^32: minus one */

	mb->messages += one;
	if (!(m->flags & FLAG_SEEN))
		mb->unseen += one;
	if (m->flags & FLAG_DELETED)
		mb->deleted += one;
	mb->bytes += sign > 0 ? m->size : 0 - m->size;
}

/* An IMAP atom (RFC 3501 section 9, flag-keyword). */
static bool is_keyword(struct span s)
{
	if (s.n == 0 || s.n > STORE_KEYWORD_LEN_MAX)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c <= 0x20 || c >= 0x7f || strchr("(){%*\"\\]", c))
			return false;
	}
	return true;
}

int mailbox_row_keywords(struct mailbox_row *row, const struct span *names, size_t count, bool add,
    uint64_t *bits, struct err *err)
{
	*bits = 0;
	for (size_t i = 0; i < count; i++) {
		size_t k = 0;

		if (!is_keyword(names[i]))
			return err_set(err, ERR_INVALID, "not a keyword: \"%.*s\"",
			    SPAN_FMT(span_sub(names[i], 0, STORE_KEYWORD_LEN_MAX)));
		while (k < row->keyword_count && !span_ieq(span_of(row->keywords[k]), names[i]))
			k++;
		if (k == row->keyword_count) {
			if (!add)
				continue;
			if (k == STORE_KEYWORDS_MAX)
				return err_set(err, ERR_LIMIT, "a mailbox has at most %d keywords",
				    STORE_KEYWORDS_MAX);
			memcpy(row->keywords[k], names[i].p, names[i].n);
			row->keywords[k][names[i].n] = '\0';
			row->keyword_count++;
		}
		*bits |= UINT64_C(1) << k;
	}
	return 0;
}
