#include "imapd/facts.h"

#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/mail/date.h"
#include "common/mail/envelope.h"
#include "common/mail/imapstr.h"
#include "common/mail/subject.h"
#include "common/mail/words.h"

#include <string.h>

#define SLICE_ROWS 2000

/* --- the columns --------------------------------------------------------------------------------
 */
static void facts_reset(struct facts *f)
{
	mem_free(f->uids);
	mem_free(f->sent);
	mem_free(f->days);
	for (int i = 0; i < FACT_TEXTS; i++)
		mem_free(f->texts[i]);
	mem_free(f->replies);
	mem_free(f->ids);
	mem_free(f->references);
	mem_free(f->text);
	mem_free(f->reference_ids);
	*f = (struct facts){.mbox = f->mbox, .forget = f->forget};
}

void facts_free(struct facts *f)
{
	if (!f)
		return;
	facts_reset(f);
	timer_clear(&f->forget);
	mem_free(f);
}

static void on_forget(void *arg)
{
	struct facts *f = arg;

	f->mbox->facts = NULL;
	facts_free(f);
}

struct facts *facts_take(struct mbox *m)
{
	struct facts *f = m->facts;

	m->facts = NULL;
	if (!f) {
		f = mem_zalloc(sizeof(*f));
		timer_init(&f->forget, m->server->role->loop, on_forget, f);
	}
	timer_stop(&f->forget);
	f->mbox = NULL;
	return f;
}

void facts_give(struct facts *f, struct mbox *m)
{
	if (!m || m->facts) {
		facts_free(f);
		return;
	}
	m->facts = f;
	f->mbox = m;
	timer_set(&f->forget, FACTS_KEPT_MS);
}

bool facts_has(const struct mbox *m, unsigned columns)
{
	return m->facts && (m->facts->has & columns) == columns;
}

static void *column(struct facts *f, void *old, size_t size)
{
	char *p = mem_grow(old, f->capacity, size);
	size_t used = old ? f->count : 0;

	memset(p + used * size, 0, (f->capacity - used) * size);
	f->bytes += f->capacity * size;
	return p;
}

/* Room for count rows in the columns that there are to be. */
static bool reserve(struct facts *f, size_t count, unsigned columns)
{
	if (count > f->capacity)
		f->capacity = count + count / 8 + 64;
	if (f->capacity > FACTS_BYTES_MAX / 64)
		return false;
	f->bytes = f->text_capacity + f->reference_capacity * sizeof(*f->reference_ids);
	f->uids = column(f, f->uids, sizeof(*f->uids));
	if (columns & FACT_SENT)
		f->sent = column(f, f->sent, sizeof(*f->sent));
	if (columns & FACT_SENT_DAY)
		f->days = column(f, f->days, sizeof(*f->days));
	for (int i = 0; i < FACT_TEXTS; i++)
		if (columns & 1u << i)
			f->texts[i] = column(f, f->texts[i], sizeof(*f->texts[i]));
	if (columns & 1u << FACT_SUBJECT)
		f->replies = column(f, f->replies, sizeof(*f->replies));
	if (columns & FACT_REFERENCES) {
		f->ids = column(f, f->ids, sizeof(*f->ids));
		f->references = column(f, f->references, sizeof(*f->references));
	}
	return f->bytes <= FACTS_BYTES_MAX;
}

static bool keep_text(struct facts *f, struct fact_piece *to, struct span s)
{
	s = span_sub(s, 0, FACTS_TEXT_MAX);
	if (f->text_capacity - f->text_n < s.n) {
		size_t more = f->text_capacity / 2 + 4096;

		if (f->bytes + more > FACTS_BYTES_MAX || f->text_n > UINT32_MAX - more)
			return false;
		f->text = mem_grow(f->text, f->text_capacity + more, 1);
		f->text_capacity += more;
		f->bytes += more;
	}
	if (s.n > 0)
		memcpy(f->text + f->text_n, s.p, s.n);
	*to = (struct fact_piece){(uint32_t)f->text_n, (uint32_t)s.n};
	f->text_n += s.n;
	return true;
}

static bool keep_id(struct facts *f, uint64_t id)
{
	if (f->reference_n == f->reference_capacity) {
		size_t more = f->reference_capacity / 2 + 1024;

		if (f->bytes + more * sizeof(id) > FACTS_BYTES_MAX ||
		    f->reference_n > UINT32_MAX - more)
			return false;
		f->reference_ids =
		    mem_grow(f->reference_ids, f->reference_capacity + more, sizeof(id));
		f->reference_capacity += more;
		f->bytes += more * sizeof(id);
	}
	f->reference_ids[f->reference_n++] = id;
	return true;
}

size_t facts_row(const struct facts *f, uint32_t uid, size_t *row)
{
	while (f->uids[*row] < uid)
		++*row;
	return *row;
}

struct span facts_text(const struct facts *f, enum fact_text c, size_t row)
{
	const struct fact_piece *p = &f->texts[c][row];

	return span_make(f->text + p->at, p->n);
}

/* --- one message
 * ---------------------------------------------------------------------------------- */
static struct span items_text(struct facts_load *l, struct span item)
{
	struct span text;

	strbuf_reset(&l->scratch);
	if (!mail_take_nstring(&item, &l->scratch, &text) || !text.p)
		return span_of("");
	return text;
}

static int64_t sent_of(struct facts_load *l, struct span date, int64_t otherwise)
{
	int64_t time;
	int zone;

	return mail_date_parse(items_text(l, date), &time, &zone) ? time : otherwise;
}

static int32_t day_of(struct facts_load *l, struct span date)
{
	int64_t time;
	int zone;

	if (!mail_date_parse(items_text(l, date), &time, &zone))
		return FACT_NO_DAY;
	return (int32_t)mail_day_of(time, zone);
}

static bool read_subject(struct facts_load *l, struct span item)
{
	struct facts *f = l->facts;

	strbuf_reset(&l->utf8);
	strbuf_reset(&l->mapped);
	mail_base_subject(&l->utf8, items_text(l, item), &f->replies[l->row]);
	mail_casemap(&l->mapped, strbuf_span(&l->utf8));
	return keep_text(f, &f->texts[FACT_SUBJECT][l->row], strbuf_span(&l->mapped));
}

/* The first address of a list, as the column wants it; a group counts with its name. */
static bool read_address(struct facts_load *l, struct span item, enum fact_text c)
{
	struct mail_envelope_address a = {{NULL, 0}, {NULL, 0}, {NULL, 0}, {NULL, 0}};
	struct facts *f = l->facts;

	strbuf_reset(&l->scratch);
	strbuf_reset(&l->utf8);
	strbuf_reset(&l->mapped);
	if (!mail_envelope_address(&item, &l->scratch, &a))
		return keep_text(f, &f->texts[c][l->row], span_of(""));
	if (c >= FACT_DISPLAYFROM && a.name.n > 0) {
		mail_words_decode(&l->utf8, span_sub(a.name, 0, MAIL_SUBJECT_MAX));
	} else {
		strbuf_add(&l->utf8, a.local);
		if (c >= FACT_DISPLAYFROM && a.domain.p) {
			strbuf_add_chr(&l->utf8, '@');
			strbuf_add(&l->utf8, a.domain);
		}
	}
	mail_casemap(&l->mapped, strbuf_span(&l->utf8));
	return keep_text(f, &f->texts[c][l->row], strbuf_span(&l->mapped));
}

static bool keep_references(struct facts_load *l, struct span value, size_t max)
{
	struct facts *f = l->facts;
	size_t start = f->reference_n, drop;
	struct span id;

	while (f->reference_n - start < max && mail_msgid_next(&value, &id))
		if (!keep_id(f, hash_bytes(id) | 1))
			return false;
	if (f->reference_n - start > FACTS_REFERENCES_MAX) {
		drop = f->reference_n - start - FACTS_REFERENCES_MAX;
		memmove(f->reference_ids + start, f->reference_ids + start + drop,
		    FACTS_REFERENCES_MAX * sizeof(*f->reference_ids));
		f->reference_n -= drop;
	}
	f->references[l->row] =
	    (struct fact_piece){(uint32_t)start, (uint32_t)(f->reference_n - start)};
	return true;
}

/* Of In-Reply-To the first id counts, and only without References (RFC 5256 section 3). */
static bool read_references(struct facts_load *l, const struct span *items, struct span header)
{
	struct facts *f = l->facts;
	struct span value = items_text(l, items[MAIL_ENVELOPE_MESSAGE_ID]), id;
	struct mail_field field;

	f->ids[l->row] = mail_msgid_next(&value, &id) ? hash_bytes(id) | 1 : 0;
	if (mail_header_find(header, SPAN("references"), &field) &&
	    !keep_references(l, field.value, SIZE_MAX))
		return false;
	if (f->references[l->row].n > 0)
		return true;
	return keep_references(l, items_text(l, items[MAIL_ENVELOPE_IN_REPLY_TO]), 1);
}

static bool read_columns(struct facts_load *l, const struct store_message *sm,
    const struct span *items, struct span header, unsigned columns)
{
	static const enum mail_envelope_item from[FACT_TEXTS] = {MAIL_ENVELOPE_SUBJECT,
	    MAIL_ENVELOPE_FROM, MAIL_ENVELOPE_TO, MAIL_ENVELOPE_CC, MAIL_ENVELOPE_FROM,
	    MAIL_ENVELOPE_TO};

	if (columns & FACT_SENT)
		l->facts->sent[l->row] = sent_of(l, items[MAIL_ENVELOPE_DATE], sm->internaldate);
	if (columns & FACT_SENT_DAY)
		l->facts->days[l->row] = day_of(l, items[MAIL_ENVELOPE_DATE]);
	if ((columns & 1u << FACT_SUBJECT) && !read_subject(l, items[MAIL_ENVELOPE_SUBJECT]))
		return false;
	for (int c = FACT_FROM; c < FACT_TEXTS; c++)
		if ((columns & 1u << c) && !read_address(l, items[from[c]], (enum fact_text)c))
			return false;
	return !(columns & FACT_REFERENCES) || read_references(l, items, header);
}

/* The header where the row does not keep enough of it. */
static int read_header(struct facts_load *l, struct span *out, struct err *err)
{
	struct message *m = &l->m;
	uint64_t got, n = m->size < MAIL_HEADER_MAX ? m->size : MAIL_HEADER_MAX;
	int rc = message_open(m, err);

	if (rc != 0)
		return rc;
	*out = strbuf_span(&m->bytes);
	if (m->has_bytes)
		return 0;
	strbuf_reset(&l->header);
	if (message_read(m, 0, n, &l->header, &got, err) < 0)
		return -1;
	*out = strbuf_span(&l->header);
	return got < n;
}

/* How many of the envelope's items the columns need. */
static int item_count(unsigned columns)
{
	if (columns & FACT_REFERENCES)
		return MAIL_ENVELOPE_ITEMS;
	if (columns & (1u << FACT_TO | 1u << FACT_CC | 1u << FACT_DISPLAYTO))
		return MAIL_ENVELOPE_CC + 1;
	if (columns & (1u << FACT_FROM | 1u << FACT_DISPLAYFROM))
		return MAIL_ENVELOPE_FROM + 1;
	return MAIL_ENVELOPE_SUBJECT + 1;
}

/* 0, 1 more to do, -1. A message that cannot be read has nothing of it all: it sorts first. */
static int read_message(struct facts_load *l, unsigned columns, struct err *err)
{
	const struct store_message *sm = &l->snap->messages[l->at];
	struct span items[MAIL_ENVELOPE_ITEMS] = {{NULL, 0}}, header = {NULL, 0};
	struct err why = ERR_INIT;
	int rc;

	if (l->m.object != sm->object)
		message_set(&l->m, sm->object, sm->size);
	rc = message_cache(&l->m, &why);
	if (rc == 0 && (columns & FACT_REFERENCES)) {
		header = l->m.cache.fields;
		if (!header.p)
			rc = read_header(l, &header, &why);
	}
	if (rc == 1)
		return 1;
	if (rc < 0)
		l->failed++;
	if (rc < 0 || !mail_envelope_items(l->m.cache.envelope, items, item_count(columns)))
		memset(items, 0, sizeof(items));
	if (!read_columns(l, sm, items, header, columns))
		return err_set(err, ERR_LIMIT, "too many messages to compare");
	return 0;
}

/* --- all that is missing
 * --------------------------------------------------------------------------- */
void facts_load_init(struct facts_load *l, struct store *store, struct facts *f,
    const struct store_snapshot *snap, unsigned want)
{
	*l = (struct facts_load){.facts = f, .snap = snap, .want = want};
	message_init(&l->m, store_blobs(store), snap->account);
	strbuf_init(&l->scratch, (size_t)2 * MESSAGE_WHOLE_MAX);
	strbuf_init(&l->header, (size_t)2 * MAIL_HEADER_MAX);
	strbuf_init(&l->utf8, (size_t)8 * MAIL_SUBJECT_MAX);
	strbuf_init(&l->mapped, (size_t)64 * MAIL_SUBJECT_MAX);
}

void facts_load_clear(struct facts_load *l)
{
	if (!l->facts)
		return;
	message_clear(&l->m);
	strbuf_clear(&l->scratch);
	strbuf_clear(&l->header);
	strbuf_clear(&l->utf8);
	strbuf_clear(&l->mapped);
}

/* Are all messages of the snapshot among the rows, or behind the last one? */
static bool fits(const struct facts *f, const struct store_snapshot *snap)
{
	size_t row = 0, i = 0;

	if (f->count > 2 * snap->count + 1000)
		return false;
	for (; i < snap->count && row < f->count; i++) {
		while (row < f->count && f->uids[row] < snap->messages[i].uid)
			row++;
		if (row < f->count && f->uids[row] != snap->messages[i].uid)
			return false;
	}
	return true;
}

static int start(struct facts_load *l, struct err *err)
{
	struct facts *f = l->facts;
	size_t first;

	if (!fits(f, l->snap))
		facts_reset(f);
	l->missing = l->want & ~f->has;
	first = f->count ? store_snapshot_search(l->snap, f->uids[f->count - 1] + 1) : 0;
	if (!reserve(f, f->count + l->snap->count - first, f->has | l->want))
		return err_set(err, ERR_LIMIT, "too many messages to compare");
	l->is_started = true;
	/* Old rows lack nothing: on with the new ones. */
	if (!l->missing) {
		l->at = first;
		l->row = f->count;
	}
	return 0;
}

int facts_load_slice(struct facts_load *l, struct db_txn *txn, struct err *err)
{
	struct facts *f = l->facts;

	message_slice(&l->m, txn);
	if (!l->is_started && start(l, err) < 0)
		return -1;
	for (size_t n = 0; l->at < l->snap->count; l->at++, n++) {
		uint32_t uid = l->snap->messages[l->at].uid;
		int rc;

		if (n == SLICE_ROWS)
			return 1;
		while (l->row < f->count && f->uids[l->row] < uid)
			l->row++;
		f->uids[l->row] = uid;
		rc = read_message(l, l->row < f->count ? l->missing : f->has | l->want, err);
		if (rc != 0)
			return rc;
		if (l->row == f->count)
			f->count++;
	}
	f->has |= l->want;
	return 0;
}
