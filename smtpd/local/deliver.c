#include "smtpd/local/local.h"

#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/log/log.h"

#include <stdio.h>
#include <string.h>

#define QUERY_MS 20000

static struct span busy_key(const uint64_t *qid)
{
	return span_make(qid, sizeof(*qid));
}

static void resolve_next(struct delivery *d);

/* --- load ------------------------------------------------------------------------------------- */
static bool keep(struct delivery *d, struct span *s)
{
	return arena_copy(&d->arena, s->p ? *s : span_make("", 0), s);
}

static bool collect_rcpt(void *arg, const struct queue_rcpt *row)
{
	struct delivery *d = arg;
	struct rcpt *r;

	if (row->qid != d->entry.qid)
		return false;
	if (row->class != QUEUE_LOCAL || row->state != QUEUE_WAITING || row->next > clock_now())
		return true;
	if (d->count == d->cap) {
		size_t cap = d->cap ? d->cap * 2 : 4;
		struct rcpt *grown = arena_array(&d->arena, cap, sizeof(*grown));

		if (!grown)
			return false;
		if (d->count > 0)
			memcpy(grown, d->rcpts, d->count * sizeof(*grown));
		d->rcpts = grown;
		d->cap = cap;
	}
	r = &d->rcpts[d->count];
	*r = (struct rcpt){.row = *row};
	if (!keep(d, &r->row.address) || !keep(d, &r->row.last_reply) || !keep(d, &r->row.orcpt))
		return false;
	d->count++;
	return true;
}

static void load_run(struct db_job *job, struct db_txn *txn)
{
	struct delivery *d = container_of(job, struct delivery, job);
	struct queue_entry *e = &d->entry;

	if (queue_entry_get(txn, e->qid, e, &job->err) < 0 ||
	    queue_each_rcpt(txn, e->qid, collect_rcpt, d, &job->err) < 0)
		return;
	if (!keep(d, &e->sender) || !keep(d, &e->client) || !keep(d, &e->helo) ||
	    !keep(d, &e->session)) {
		err_set(&job->err, ERR_LIMIT, "envelope too large");
		return;
	}
	/* Inside the transaction: an inline body lies in the map. */
	if (d->count > 0 && e->blob.size <= MESSAGE_WHOLE_MAX)
		message_take_whole(d, &job->err);
	else if (d->count > 0)
		blob_open(queue_blobs(d->local->queue), &e->blob, &d->reader, &job->err);
	e->blob.data = span_make("", 0);
}

static void load_done(struct db_job *job)
{
	struct delivery *d = container_of(job, struct delivery, job);

	if (job->err.code == ERR_NOT_FOUND)
		delivery_end(d); /* deleted by the administrator, or settled a moment ago */
	else if (job->err.code != ERR_NONE)
		delivery_failed(d, &job->err);
	else if (d->count == 0)
		delivery_end(d);
	else
		resolve_next(d);
}

void delivery_start(struct local *l, uint64_t qid)
{
	struct delivery *d = mem_zalloc(sizeof(*d));

	d->local = l;
	d->entry.qid = qid;
	arena_init(&d->arena, DELIVERY_ARENA_MAX);
	strbuf_init(&d->slice, 256 * 1024);
	hash_set(l->busy, busy_key(&qid), l);
	l->deliveries++;
	d->job.run = load_run;
	d->job.done = load_done;
	queue_read(l->queue, &d->job);
}

/* --- resolve ---------------------------------------------------------------------------------- */
static void rcpt_failed(struct rcpt *r, const char *reply)
{
	r->is_failed = true;
	snprintf(r->reply, sizeof(r->reply), "%s", reply);
}

static void rcpt_fault(struct rcpt *r, const char *reply)
{
	rcpt_failed(r, reply);
	r->is_fault = true;
}

static void keep_targets(struct delivery *d, struct rcpt *r, struct ipc_resolved *m)
{
	struct ipc_target t;

	r->targets = arena_array(&d->arena, m->count, sizeof(*r->targets));
	if (!r->targets) {
		rcpt_failed(r, "451 4.3.0 too many targets");
		return;
	}
	while (r->target_count < m->count && ipc_target_next(m, &t)) {
		t.detail = span_make("", 0);
		if (t.account != 0)
			t.address = span_make("", 0);
		else if (!keep(d, &t.address))
			rcpt_failed(r, "451 4.3.0 too many targets");
		r->targets[r->target_count++] = t;
	}
}

static void on_forwarded(void *arg, const struct ipc_msg *msg, const struct err *err)
{
	struct delivery *d = arg;
	struct rcpt *r = &d->rcpts[d->resolving];

	d->query = NULL;
	if (err || msg->type != IPC_AUTH_FORWARDED) {
		rcpt_fault(r, "451 4.3.0 the account service does not answer");
	} else {
		r->sender = msg->body;
		if (!keep(d, &r->sender))
			rcpt_failed(r, "451 4.3.0 envelope too large");
	}
	d->resolving++;
	resolve_next(d);
}

/* What goes on to another server goes in our name: the sender's SPF record does not know us. */
static bool ask_sender(struct delivery *d, const struct rcpt *r)
{
	struct ipc_forward m = {.sender = d->entry.sender, .address = r->row.address};
	bool is_forwarded = false;
	struct strbuf b;

	for (uint32_t i = 0; i < r->target_count; i++)
		is_forwarded |= r->targets[i].account == 0;
	if (!is_forwarded || r->is_failed || d->entry.sender.n == 0)
		return false;
	strbuf_init(&b, 4096);
	ipc_enc_forward(&b, &m);
	d->query = ipc_call(
	    d->local->role->authd, IPC_AUTH_FORWARD, strbuf_span(&b), QUERY_MS, on_forwarded, d);
	strbuf_clear(&b);
	return true;
}

static void on_resolved(void *arg, const struct ipc_msg *msg, const struct err *err)
{
	struct delivery *d = arg;
	struct rcpt *r = &d->rcpts[d->resolving];
	struct ipc_resolved m;

	d->query = NULL;
	if (err || msg->type != IPC_AUTH_RESOLVED || !ipc_dec_resolved(msg->body, &m))
		rcpt_fault(r, "451 4.3.0 the account service does not answer");
	else if (m.status == RESOLVE_LOCAL && m.count > 0)
		keep_targets(d, r, &m);
	else if (m.status == RESOLVE_OVER_QUOTA)
		rcpt_failed(r, "452 4.2.2 mailbox is full");
	else if (m.status == RESOLVE_TEMP)
		rcpt_fault(r, "451 4.3.0 lookup failed");
	else
		rcpt_failed(r, "550 5.1.1 no such user any more");
	if (ask_sender(d, r))
		return;
	d->resolving++;
	resolve_next(d);
}

static void resolve_next(struct delivery *d)
{
	struct ipc_resolve m;
	struct strbuf b;

	if (d->resolving == d->count) {
		message_build(d);
		return;
	}
	m.address = d->rcpts[d->resolving].row.address;
	strbuf_init(&b, 4096);
	ipc_enc_resolve(&b, &m);
	d->query = ipc_call(
	    d->local->role->authd, IPC_AUTH_RESOLVE, strbuf_span(&b), QUERY_MS, on_resolved, d);
	strbuf_clear(&b);
}

/* --- into the store --------------------------------------------------------------------------- */
/* One recipient's one account: an operation of its own, so that one full mailbox hurts nobody. */
struct put {
	struct db_op op;
	struct delivery *delivery;
	size_t rcpt;
	uint64_t account;
	struct store_limits limits;
	struct store_appended appended;
	bool is_repeat;
};

static int put_run(struct db_op *op, struct db_txn *txn, struct err *err)
{
	struct put *p = container_of(op, struct put, op);
	struct delivery *d = p->delivery;
	struct store_append m = {
	    .flags = d->entry.is_utf8 ? MESSAGE_UTF8 : 0,
	    .internaldate = d->entry.arrival,
	    .blob = &d->message->blob,
	    .cache = d->message->cache,
	    .message_id = d->message->message_id,
	    .limits = p->limits,
	};
	struct store_mailbox inbox;
	unsigned char key[16];

	/* A message goes into an account once, by whatever addresses it came. */
	be_put64(key, d->entry.qid);
	be_put64(key + 8, p->account);
	if (store_delivered_check(txn, span_make(key, sizeof(key)), &p->is_repeat, err) < 0)
		return -1;
	if (p->is_repeat)
		return 0;
	if (store_account_ensure(txn, p->account, err) < 0 ||
	    store_mailbox_find(txn, p->account, SPAN("INBOX"), &inbox, err) < 0 ||
	    store_append(txn, p->account, inbox.id, &m, &p->appended, err) < 0)
		return -1;
	return store_delivered_add(txn, span_make(key, sizeof(key)), err);
}

static void settle_all(struct delivery *d)
{
	for (size_t i = 0; i < d->count; i++)
		settle_add(d->local, &d->entry, &d->rcpts[i], !d->rcpts[i].is_failed);
	delivery_end(d);
}

static void put_done(struct db_op *op)
{
	struct put *p = container_of(op, struct put, op);
	struct delivery *d = p->delivery;
	struct rcpt *r = &d->rcpts[p->rcpt];
	char qid[QUEUE_ID_TEXT];

	queue_id_format(qid, d->entry.qid);
	if (op->err.code == ERR_NONE) {
		if (!p->is_repeat)
			d->has_kept = true;
		log_info("delivered", LOG_STR("qid", qid), LOG_SPAN("session", d->entry.session),
		    LOG_SPAN("from", d->entry.sender), LOG_SPAN("to", r->row.address),
		    LOG_U64("account", p->account), LOG_U64("uid", p->appended.uid),
		    LOG_U64("repeat", p->is_repeat));
	} else {
		log_warning("deferred", LOG_STR("qid", qid), LOG_SPAN("session", d->entry.session),
		    LOG_SPAN("to", r->row.address), LOG_U64("account", p->account),
		    LOG_ERR(&op->err));
		if (op->err.code == ERR_QUOTA)
			rcpt_failed(r, "452 4.2.2 mailbox is full");
		else
			rcpt_fault(r, op->err.code == ERR_NO_SPACE
					  ? "452 4.3.1 insufficient system storage"
					  : "451 4.3.0 local error");
	}
	mem_free(p);
	if (--d->writes == 0)
		settle_all(d);
}

void delivery_write(struct delivery *d)
{
	size_t cost =
	    !d->message || d->message->blob.is_file ? 0 : d->message->blob.stored + 16 * 1024;

	d->writes = 1; /* until all are submitted */
	for (size_t i = 0; i < d->count; i++) {
		const struct rcpt *r = &d->rcpts[i];

		for (uint32_t k = 0; !r->is_failed && k < r->target_count; k++) {
			struct put *p;

			if (r->targets[k].account == 0)
				continue; /* goes on with its outcome */
			p = mem_zalloc(sizeof(*p));
			p->delivery = d;
			p->rcpt = i;
			p->account = r->targets[k].account;
			p->limits.quota_bytes = r->targets[k].quota_bytes;
			p->limits.quota_messages = r->targets[k].quota_messages;
			p->limits.counts_kept =
			    config_bool(d->local->role->cfg, SET_STORE_UNDELETE_COUNTS);
			p->op = (struct db_op){
			    .run = put_run, .done = put_done, .cost = cost, .need = DB_ADDS};
			d->writes++;
			store_write(d->local->store, &p->op);
		}
	}
	if (--d->writes == 0)
		settle_all(d);
}

/* --- the end ---------------------------------------------------------------------------------- */
void delivery_failed(struct delivery *d, const struct err *err)
{
	char qid[QUEUE_ID_TEXT];

	queue_id_format(qid, d->entry.qid);
	log_error("delivery-failed", LOG_STR("qid", qid), LOG_ERR(err));
	for (size_t i = 0; i < d->count; i++)
		rcpt_fault(&d->rcpts[i], "451 4.3.0 local error");
	if (d->count > 0)
		settle_all(d);
	else
		delivery_end(d);
}

void delivery_end(struct delivery *d)
{
	struct local *l = d->local;

	if (d->count == 0)
		hash_remove(l->busy, busy_key(&d->entry.qid));
	if (d->query)
		ipc_call_cancel(d->query);
	if (d->has_kept)
		intake_keep(d->intake);
	intake_free(d->intake);
	blob_reader_free(d->reader);
	strbuf_clear(&d->slice);
	arena_clear(&d->arena);
	mem_free(d);
	delivery_gone(l);
}

void delivery_gone(struct local *l)
{
	l->deliveries--;
	if (l->role->is_draining && l->deliveries == 0 && !l->is_scanning)
		role_finished(l->role);
	else
		scan_more(l);
}
