/* One message's answer to FETCH. */
#include "common/mail/bodystructure.h"
#include "common/mail/date.h"
#include "common/mail/imapstr.h"
#include "imapd/fetch.h"

/* One item at most, above what is checked between items. */
#define OUT_MAX (SLICE_BYTES + (size_t)3 * 1024 * 1024)

void fetch_writer_init(struct fetch_writer *w, struct store *store,
    const struct store_snapshot *snap, const struct fetch_request *rq)
{
	*w = (struct fetch_writer){.snap = snap, .rq = rq};
	message_init(&w->m, store_blobs(store), snap->account);
	strbuf_init(&w->out, OUT_MAX);
	strbuf_init(&w->scratch, (size_t)2 * MESSAGE_WHOLE_MAX);
	strbuf_init(&w->binary.in, MESSAGE_STEP + 64 * 1024);
	strbuf_init(&w->binary.decoded, MESSAGE_STEP + 64 * 1024);
}

void fetch_writer_clear(struct fetch_writer *w)
{
	message_clear(&w->m);
	strbuf_clear(&w->out);
	strbuf_clear(&w->scratch);
	strbuf_clear(&w->binary.in);
	strbuf_clear(&w->binary.decoded);
	uidset_clear(&w->recent);
}

bool fetch_is_downgraded(const struct fetch_request *rq, const struct store_message *m)
{
	return (m->flags & MESSAGE_UTF8) && !rq->is_utf8 && rq->needs_content;
}

void fetch_writer_set(struct fetch_writer *w, size_t index, const struct store_message *marked)
{
	w->index = index;
	w->row = &w->snap->messages[index];
	w->item = w->rq->first;
	w->marked = marked;
	w->is_begun = w->has_item = false;
	w->left = 0;
	w->binary.item = NULL;
	w->is_downgraded = fetch_is_downgraded(w->rq, w->row);
	if (w->rq->needs_store || w->is_downgraded)
		message_set(&w->m, w->row->object, w->row->size);
	if (w->is_downgraded)
		message_want_downgraded(&w->m);
}

static void separate(struct fetch_writer *w)
{
	if (w->has_item)
		strbuf_add_chr(&w->out, ' ');
	w->has_item = true;
}

void fetch_label(struct fetch_writer *w, const struct fetch_item *it)
{
	separate(w);
	strbuf_add(&w->out, it->label);
	if (it->has_partial) {
		strbuf_add_chr(&w->out, '<');
		strbuf_add_u64(&w->out, it->partial_at);
		strbuf_add_chr(&w->out, '>');
	}
	strbuf_add_chr(&w->out, ' ');
}

static void write_item_flags(struct fetch_writer *w)
{
	const struct store_message *m = w->marked ? w->marked : w->row;

	write_flags(&w->out, w->snap, m, w->recent.n > 0 && uidset_has(&w->recent, m->uid));
}

static void write_modseq(struct fetch_writer *w)
{
	strbuf_add_chr(&w->out, '(');
	strbuf_add_u64(&w->out, w->marked ? w->marked->modseq : w->row->modseq);
	strbuf_add_chr(&w->out, ')');
}

static void write_date(struct fetch_writer *w, int64_t time)
{
	char text[MAIL_DATE_LEN];

	mail_internaldate_format(text, time, 0);
	strbuf_add_chr(&w->out, '"');
	strbuf_add_str(&w->out, text);
	strbuf_add_chr(&w->out, '"');
}

/* What the snapshot answers. */
static void write_plain(struct fetch_writer *w, const struct fetch_item *it)
{
	fetch_label(w, it);
	switch (it->kind) {
	case FETCH_FLAGS:
		write_item_flags(w);
		break;
	case FETCH_UID:
		strbuf_add_u64(&w->out, w->row->uid);
		break;
	case FETCH_INTERNALDATE:
		write_date(w, w->row->internaldate);
		break;
	case FETCH_SAVEDATE:
		write_date(w, w->row->savedate);
		break;
	case FETCH_SIZE:
		strbuf_add_u64(&w->out, w->is_downgraded ? w->m.size : w->row->size);
		break;
	case FETCH_MODSEQ:
		write_modseq(w);
		break;
	default:
		strbuf_add(&w->out, SPAN("(M"));
		strbuf_add_u64(&w->out, w->row->object);
		strbuf_add_chr(&w->out, ')');
		break;
	}
}

static int write_envelope(struct fetch_writer *w, const struct fetch_item *it, struct err *err)
{
	int rc = message_cache(&w->m, err);

	if (rc != 0)
		return rc;
	fetch_label(w, it);
	strbuf_add(&w->out, w->m.cache.envelope);
	return 0;
}

static int write_structure(struct fetch_writer *w, const struct fetch_item *it, struct err *err)
{
	int rc = message_cache(&w->m, err);

	if (rc == 0 && it->kind == FETCH_BODYSTRUCTURE && w->m.cache.structure.p) {
		fetch_label(w, it);
		strbuf_add(&w->out, w->m.cache.structure);
		return 0;
	}
	if (rc == 0)
		rc = message_tree(&w->m, err);
	if (rc != 0)
		return rc;
	fetch_label(w, it);
	mail_bodystructure_write(&w->out, w->m.tree, it->kind == FETCH_BODYSTRUCTURE);
	return 0;
}

static int write_thread(struct fetch_writer *w, const struct fetch_item *it, struct err *err)
{
	uint64_t thread;

	if (store_object_thread(w->m.txn, w->m.account, w->m.object, &thread, err) < 0)
		return -1;
	fetch_label(w, it);
	strbuf_add(&w->out, SPAN("(T"));
	strbuf_add_u64(&w->out, thread);
	strbuf_add_chr(&w->out, ')');
	return 0;
}

static int write_item(struct fetch_writer *w, const struct fetch_item *it, struct err *err)
{
	switch (it->kind) {
	case FETCH_ENVELOPE:
		return write_envelope(w, it, err);
	case FETCH_BODY:
	case FETCH_BODYSTRUCTURE:
		return write_structure(w, it, err);
	case FETCH_SECTION:
		return fetch_section(w, it, err);
	case FETCH_BINARY:
	case FETCH_BINARY_SIZE:
		return fetch_binary(w, it, err);
	case FETCH_PREVIEW:
		return fetch_preview(w, it, err);
	case FETCH_THREADID:
		return write_thread(w, it, err);
	default:
		write_plain(w, it);
		return 0;
	}
}

/* More of the bytes that the last item announced. */
static int write_bytes(struct fetch_writer *w, struct err *err)
{
	size_t room = SLICE_BYTES - w->out.n;
	uint64_t got, n = w->left < room ? w->left : room;

	if (message_read(&w->m, w->at, n, &w->out, &got, err) < 0)
		return -1;
	w->at += got;
	w->left -= got;
	return got == 0 ? 1 : 0;
}

static void begin(struct fetch_writer *w)
{
	strbuf_add(&w->out, SPAN("* "));
	strbuf_add_u64(&w->out, w->index + 1);
	strbuf_add(&w->out, SPAN(" FETCH ("));
	if (w->rq->is_uid) {
		separate(w);
		strbuf_add(&w->out, SPAN("UID "));
		strbuf_add_u64(&w->out, w->row->uid);
	}
	w->is_begun = true;
}

static void end(struct fetch_writer *w)
{
	bool has_flags = false, has_modseq = false;

	for (const struct fetch_item *it = w->rq->first; it; it = it->next) {
		has_flags |= it->kind == FETCH_FLAGS;
		has_modseq |= it->kind == FETCH_MODSEQ;
	}
	if (w->marked && !has_flags) {
		separate(w);
		strbuf_add(&w->out, SPAN("FLAGS "));
		write_item_flags(w);
	}
	if (w->marked && w->tells_modseq && !has_modseq) {
		separate(w);
		strbuf_add(&w->out, SPAN("MODSEQ "));
		write_modseq(w);
	}
	strbuf_add(&w->out, SPAN(")\r\n"));
}

/* What may fail fails here, before the first byte of the message. */
static int prepare(struct fetch_writer *w, struct err *err)
{
	int rc = w->is_downgraded ? message_downgrade(&w->m, err) : 0;

	if (rc != 0)
		return rc;
	if (w->rq->needs_binary)
		rc = fetch_binary_check(w, err);
	else if (w->rq->needs_cache)
		rc = message_cache(&w->m, err);
	if (rc == 0 && (w->rq->needs_body || (w->rq->needs_fields && !w->m.cache.fields.p)))
		rc = message_open(&w->m, err);
	return rc;
}

int fetch_write(struct fetch_writer *w, struct err *err)
{
	int rc = 0;

	if (!w->is_begun) {
		rc = prepare(w, err);
		if (rc != 0)
			return rc;
		begin(w);
	}
	while (rc == 0 && (w->item || w->left || w->binary.item)) {
		if (w->out.n >= SLICE_BYTES)
			return 1;
		if (w->left) {
			rc = write_bytes(w, err);
		} else if (w->binary.item) {
			rc = fetch_binary_more(w, err);
		} else if (w->item->kind == FETCH_UID && w->rq->is_uid) {
			w->item = w->item->next; /* it stands there already */
		} else {
			rc = write_item(w, w->item, err);
			if (rc == 0)
				w->item = w->item->next;
		}
	}
	if (rc != 0)
		return rc;
	end(w);
	if (w->out.failed)
		return err_set(err, ERR_LIMIT, "an answer is too long");
	return 0;
}
