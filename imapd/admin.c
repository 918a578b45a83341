/* undelete list, message, mailbox, since: the administrator gives back what was removed. */
#include "imapd/imap.h"

#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/log/log.h"
#include "common/mail/date.h"
#include "common/mail/envelope.h"
#include "common/mail/words.h"
#include "common/store/cache.h"

#include <string.h>

#define LIST_MAX 10000
#define LIST_BYTES_MAX (8 * 1024 * 1024)
#define RECORD_MAX (16 * 1024)
#define TEXT_MAX 300

static const char usage[] =
    "usage: undelete list ACCOUNT [MAILBOX], undelete message ACCOUNT MAILBOX UID, "
    "undelete mailbox ACCOUNT MAILBOX, undelete since ACCOUNT TIME";

/* --- list ------------------------------------------------------------------------------------- */
/* What can be restored of one mailbox. */
struct heap {
	char *name;
	bool is_gone;
	uint64_t messages, bytes;
	int64_t first, last;
};

struct listing {
	struct db_job job;
	struct admin_request rq;
	struct db_txn *txn;
	uint64_t account;
	char mailbox[STORE_NAME_MAX + 1]; /* its messages; empty: all mailboxes in sums */
	struct strbuf rows;               /* each a byte string */
	size_t count;
	bool is_cut;
	struct heap *heaps;
	size_t heap_count, heap_cap, heap_last;
};

static void add_row(struct listing *l, struct strbuf *row)
{
	if (l->count == LIST_MAX || l->rows.n > LIST_BYTES_MAX - RECORD_MAX) {
		l->is_cut = true;
	} else {
		enc_bytes(&l->rows, strbuf_span(row));
		l->count++;
	}
	strbuf_clear(row);
}

static struct heap *heap_of(struct listing *l, const char *name)
{
	size_t i = l->heap_last;

	if (i >= l->heap_count || strcmp(l->heaps[i].name, name) != 0)
		for (i = 0; i < l->heap_count && strcmp(l->heaps[i].name, name) != 0; i++)
			;
	l->heap_last = i;
	if (i < l->heap_count)
		return &l->heaps[i];
	if (l->heap_count == l->heap_cap) {
		l->heap_cap = l->heap_cap ? l->heap_cap * 2 : 16;
		l->heaps = mem_grow(l->heaps, l->heap_cap, sizeof(*l->heaps));
	}
	l->heaps[l->heap_count] = (struct heap){.name = mem_strdup(name)};
	return &l->heaps[l->heap_count++];
}

static void count_in(struct listing *l, const struct store_deleted *d)
{
	struct heap *h = heap_of(l, d->mailbox);

	h->is_gone |= d->m == NULL;
	if (!h->first)
		h->first = d->time;
	if (d->time > h->last)
		h->last = d->time;
	if (!d->m)
		return;
	h->messages++;
	h->bytes += d->m->size;
}

/* "..." or {n}CRLF..., with encoded words. */
static void add_subject(struct strbuf *row, struct span item)
{
	struct arena arena;
	struct parser p = {.in = item, .arena = &arena};
	struct span raw;
	struct strbuf text;

	arena_init(&arena, 256 * 1024);
	strbuf_init(&text, 64 * 1024);
	if (parse_nstring(&p, &raw) && raw.p)
		mail_words_decode(&text, raw);
	ipc_rec_text(row, "subject", span_sub(strbuf_span(&text), 0, TEXT_MAX));
	strbuf_clear(&text);
	arena_clear(&arena);
}

static void add_from(struct strbuf *row, struct span item)
{
	struct mail_envelope_address a;
	struct strbuf scratch, text;

	strbuf_init(&scratch, 64 * 1024);
	strbuf_init(&text, 64 * 1024);
	if (mail_envelope_address(&item, &scratch, &a) && a.local.p) {
		strbuf_add(&text, a.local);
		strbuf_add_chr(&text, '@');
		strbuf_add(&text, a.domain);
	}
	ipc_rec_text(row, "from", span_sub(strbuf_span(&text), 0, TEXT_MAX));
	strbuf_clear(&scratch);
	strbuf_clear(&text);
}

static void add_message(struct listing *l, const struct store_deleted *d)
{
	struct span items[MAIL_ENVELOPE_ITEMS] = {{NULL, 0}};
	struct strbuf row;
	struct cache cache;
	struct span cached;

	strbuf_init(&row, RECORD_MAX);
	ipc_rec_text(&row, "mailbox", span_of(d->mailbox));
	ipc_rec_number(&row, "uid", IPC_NUMBER, d->m->uid);
	ipc_rec_number(&row, "removed", IPC_TIME, (uint64_t)d->time);
	ipc_rec_number(
	    &row, "received", IPC_TIME, d->m->internaldate > 0 ? (uint64_t)d->m->internaldate : 0);
	ipc_rec_number(&row, "size", IPC_BYTES, d->m->size);
	if (store_object_cache(l->txn, l->account, d->m->object, &cached, NULL) == 0 &&
	    cache_decode(cached, &cache))
		mail_envelope_items(cache.envelope, items, MAIL_ENVELOPE_FROM + 1);
	add_from(&row, items[MAIL_ENVELOPE_FROM]);
	add_subject(&row, items[MAIL_ENVELOPE_SUBJECT]);
	add_row(l, &row);
}

static bool list_one(void *arg, const struct store_deleted *d)
{
	struct listing *l = arg;

	if (l->mailbox[0] == '\0')
		count_in(l, d);
	else if (d->m && strcmp(d->mailbox, l->mailbox) == 0)
		add_message(l, d);
	return !l->is_cut;
}

static void add_heap(struct listing *l, const struct heap *h)
{
	struct strbuf row;

	strbuf_init(&row, RECORD_MAX);
	ipc_rec_text(&row, "mailbox", span_of(h->name));
	ipc_rec_number(&row, "deleted", IPC_BOOL, h->is_gone);
	ipc_rec_number(&row, "messages", IPC_NUMBER, h->messages);
	ipc_rec_number(&row, "size", IPC_BYTES, h->bytes);
	ipc_rec_number(&row, "first-removed", IPC_TIME, (uint64_t)h->first);
	ipc_rec_number(&row, "last-removed", IPC_TIME, (uint64_t)h->last);
	add_row(l, &row);
}

static void listing_run(struct db_job *job, struct db_txn *txn)
{
	struct listing *l = container_of(job, struct listing, job);

	l->txn = txn;
	if (store_deleted_list(txn, l->account, list_one, l, &job->err) < 0)
		return;
	for (size_t i = 0; i < l->heap_count; i++)
		add_heap(l, &l->heaps[i]);
}

static void listing_done(struct db_job *job)
{
	struct listing *l = container_of(job, struct listing, job);
	struct dec rows = dec_of(strbuf_span(&l->rows));

	while (rows.in.n > 0 && dec_ok(&rows)) {
		struct strbuf row;

		strbuf_init(&row, RECORD_MAX);
		strbuf_add(&row, dec_bytes(&rows));
		admin_record(&l->rq, &row);
		strbuf_clear(&row);
	}
	if (job->err.code != ERR_NONE)
		admin_end(&l->rq, job->err.code, "%s", job->err.text);
	else
		admin_end(&l->rq, ERR_NONE, "%s", l->is_cut ? "there are more" : "");
	for (size_t i = 0; i < l->heap_count; i++)
		mem_free(l->heaps[i].name);
	mem_free(l->heaps);
	strbuf_clear(&l->rows);
	mem_free(l);
}

static void list(
    struct imapd *p, uint64_t account, const char *mailbox, const struct admin_request *rq)
{
	struct listing *l = mem_zalloc(sizeof(*l));

	l->rq = *rq;
	l->account = account;
	memcpy(l->mailbox, mailbox, strlen(mailbox) + 1);
	strbuf_init(&l->rows, LIST_BYTES_MAX);
	l->job.run = listing_run;
	l->job.done = listing_done;
	store_read(p->store, &l->job);
}

/* --- restoring -------------------------------------------------------------------------------- */
struct restore {
	struct db_op op;
	struct imapd *server;
	struct admin_request rq;
	uint64_t account;
	char mailbox[STORE_NAME_MAX + 1];
	struct store_undelete what;
	struct store_undeleted now, sum; /* of this transaction, of all */
};

static int restore_run(struct db_op *op, struct db_txn *txn, struct err *err)
{
	struct restore *r = container_of(op, struct restore, op);

	return store_undelete(txn, r->account, &r->what, &r->now, err);
}

static void restore_done(struct db_op *op);

static void restore_go_on(struct restore *r)
{
	r->op = (struct db_op){.run = restore_run,
	    .done = restore_done,
	    .cost = (size_t)STORE_UNDELETE_MAX * 80,
	    .need = DB_CHANGES};
	store_write(r->server->store, &r->op);
}

static void restore_end(struct restore *r, const struct err *err)
{
	if (err->code != ERR_NONE)
		admin_end(&r->rq, err->code, "%s (%zu messages were restored before)", err->text,
		    r->sum.messages);
	else if (r->sum.messages + r->sum.mailboxes == 0)
		admin_end(&r->rq, ERR_NOT_FOUND, "there is nothing to restore");
	else
		admin_end(&r->rq, ERR_NONE, "messages restored: %zu, mailboxes made again: %zu",
		    r->sum.messages, r->sum.mailboxes);
}

static void restore_done(struct db_op *op)
{
	struct restore *r = container_of(op, struct restore, op);

	if (op->err.code == ERR_NONE) {
		r->sum.messages += r->now.messages;
		r->sum.mailboxes += r->now.mailboxes;
		if (r->now.is_more) {
			restore_go_on(r);
			return;
		}
	}
	log_info("imap-undelete", LOG_U64("account", r->account),
	    LOG_U64("messages", r->sum.messages), LOG_U64("mailboxes", r->sum.mailboxes),
	    LOG_ERR(&op->err));
	restore_end(r, &op->err);
	mem_free(r);
}

static void restore(struct imapd *p, uint64_t account, const char *mailbox, uint32_t uid,
    int64_t since, const struct admin_request *rq)
{
	struct restore *r = mem_zalloc(sizeof(*r));

	r->server = p;
	r->rq = *rq;
	r->account = account;
	memcpy(r->mailbox, mailbox, strlen(mailbox) + 1);
	r->what = (struct store_undelete){span_of(r->mailbox), uid, since};
	restore_go_on(r);
}

/* --- words ------------------------------------------------------------------------------------ */
/* Digits, exactly so many of them. */
static bool take_digits(struct span *in, size_t n, uint64_t *out)
{
	struct span digits = span_sub(*in, 0, n);

	if (digits.n != n || !span_u64(digits, UINT32_MAX, out))
		return false;
	*in = span_from(*in, n);
	return true;
}

/* "2026-01-31", "2026-01-31T12:00" or with seconds: UTC. */
static bool parse_date(struct span in, int64_t *time)
{
	uint64_t year, month, day, hour = 0, minute = 0, second = 0;

	if (!take_digits(&in, 4, &year) || !span_take_chr(&in, '-') ||
	    !take_digits(&in, 2, &month) || !span_take_chr(&in, '-') ||
	    !take_digits(&in, 2, &day) || month < 1 || month > 12 || day < 1 || day > 31)
		return false;
	if (in.n > 0 &&
	    (!(span_take_chr(&in, 'T') || span_take_chr(&in, ' ')) || !take_digits(&in, 2, &hour) ||
		!span_take_chr(&in, ':') || !take_digits(&in, 2, &minute)))
		return false;
	if (in.n > 0 && span_take_chr(&in, ':') && !take_digits(&in, 2, &second))
		return false;
	span_take_chr(&in, 'Z');
	*time = mail_days_from_civil((int64_t)year, (int)month, (int)day) * 86400 +
		(int64_t)(hour * 3600 + minute * 60 + second);
	return in.n == 0 && hour < 24 && minute < 60 && second <= 60;
}

/* A date, or an age: "90s", "30m", "12h", "3d". At least 1, 0 means all. */
static bool parse_time(struct span in, int64_t *time)
{
	static const struct {
		char unit;
		int64_t seconds;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
	struct span rest = in;
	uint64_t n;

	if (span_take_u64(&rest, 1000 * 1000, &n) && rest.n == 1) {
		for (size_t i = 0; i < ARRAY_LEN(units); i++) {
			if (rest.p[0] != units[i].unit)
				continue;
			*time = clock_now() - (int64_t)n * units[i].seconds;
			*time = *time > 0 ? *time : 1;
			return true;
		}
		return false;
	}
	if (!parse_date(in, time))
		return false;
	*time = *time > 0 ? *time : 1;
	return true;
}

static void undelete(
    struct imapd *p, const struct ipc_admin *cmd, uint64_t account, const struct admin_request *rq)
{
	struct span verb = cmd->words[1], arg = cmd->count > 3 ? cmd->words[3] : SPAN("");
	char name[STORE_NAME_MAX + 1] = "";
	bool is_since = span_eq(verb, SPAN("since"));
	struct err err = ERR_INIT;
	uint64_t uid = 0;
	int64_t since = 0;

	if (!is_since && cmd->count > 3 && store_name_check(arg, name, &err) < 0)
		admin_end(rq, err.code, "%s", err.text);
	else if (span_eq(verb, SPAN("list")) && cmd->count <= 4)
		list(p, account, name, rq);
	else if (span_eq(verb, SPAN("mailbox")) && cmd->count == 4)
		restore(p, account, name, 0, 0, rq);
	else if (span_eq(verb, SPAN("message")) && cmd->count == 5 &&
		 span_u64(cmd->words[4], UINT32_MAX, &uid) && uid > 0)
		restore(p, account, name, (uint32_t)uid, 0, rq);
	else if (is_since && cmd->count == 4 && parse_time(arg, &since))
		restore(p, account, name, 0, since, rq);
	else if (is_since && cmd->count == 4)
		admin_end(rq, ERR_INVALID,
		    "found \"%.*s\", expected a time like 3d, 12h, 2026-01-31 or "
		    "2026-01-31T12:00 (UTC)",
		    SPAN_FMT(span_sub(arg, 0, 40)));
	else
		admin_end(rq, ERR_INVALID, "%s", usage);
}

void imapd_admin(struct role *r, const struct ipc_admin *cmd, const struct admin_request *rq)
{
	uint64_t account;

	if (span_eq(cmd->words[0], SPAN("usage")))
		imapd_admin_usage(r->ctx, cmd, rq);
	else if (!span_eq(cmd->words[0], SPAN("undelete")))
		admin_end(rq, ERR_UNSUPPORTED, "imapd-worker has no such verb");
	else if (cmd->count < 3 || !span_u64(cmd->words[2], UINT64_MAX, &account) || account == 0)
		admin_end(rq, ERR_INVALID, "%s", usage);
	else
		undelete(r->ctx, cmd, account, rq);
}
