/*
 * The registry of mailboxes that sessions have selected: one snapshot each, shared. It is loaded
 * when a session asks and something was committed since, and when something changed while a session
 * is in IDLE.
 */
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/log/log.h"
#include "imapd/facts.h"

struct mbox_key {
	uint64_t account, id;
};

static void mbox_load(struct mbox *m);

static struct mbox *find(struct imapd *p, uint64_t account, uint64_t id)
{
	const struct mbox_key key = {account, id};

	return hash_get(p->mboxes, span_make(&key, sizeof(key)));
}

struct mbox *mbox_get(struct imapd *p, uint64_t account, uint64_t id)
{
	const struct mbox_key key = {account, id};
	struct mbox *m = find(p, account, id);

	if (m)
		return m;
	m = mem_zalloc(sizeof(*m));
	m->server = p;
	m->account = account;
	m->id = id;
	list_init(&m->views);
	list_init(&m->waiters);
	list_init(&m->next_waiters);
	hash_set(p->mboxes, span_make(&key, sizeof(key)), m);
	return m;
}

static void mbox_free(struct mbox *m)
{
	store_snapshot_unref(m->latest);
	facts_free(m->facts);
	mem_free(m);
}

/* --- \Recent: kept in the store, so that the next worker knows whose it was ---------------------
 */
static int claim_run(struct db_op *op, struct db_txn *txn, struct err *err)
{
	struct mbox *m = container_of(op, struct mbox, claim);
	uint32_t first;

	return store_recent_claim(txn, m->account, m->id, &first, err);
}

static void claim_done(struct db_op *op)
{
	struct mbox *m = container_of(op, struct mbox, claim);

	if (op->err.code != ERR_NONE && op->err.code != ERR_NOT_FOUND)
		log_warning("imap-recent", LOG_U64("account", m->account), LOG_ERR(&op->err));
	m->is_claiming = false;
	mbox_keep_recent(m);
	mbox_release(m);
}

void mbox_keep_recent(struct mbox *m)
{
	if (m->recent_next <= m->recent_kept || m->is_claiming || m->is_gone ||
	    m->server->is_stopping)
		return;
	m->recent_kept = m->recent_next;
	m->is_claiming = true;
	m->claim = (struct db_op){.run = claim_run, .done = claim_done};
	/* Nobody waits for it, and it is not worth a flush of its own. */
	db_write_lazy(store_writer(m->server->store), &m->claim);
}

void mbox_release(struct mbox *m)
{
	const struct mbox_key key = {m->account, m->id};

	if (!m->is_loading && list_is_empty(&m->views))
		mbox_keep_recent(m);
	/* Until the claim is written, the next session must hear of it from here. */
	if (m->is_claiming || m->is_loading || !list_is_empty(&m->views) ||
	    !list_is_empty(&m->waiters))
		return;
	hash_remove(m->server->mboxes, span_make(&key, sizeof(key)));
	mbox_free(m);
}

static void free_one(struct span key, void *value, void *arg)
{
	mbox_free(value);
}

void mboxes_free(struct imapd *p)
{
	hash_each(p->mboxes, free_one, NULL);
	hash_free(p->mboxes);
}

/* --- loading ---------------------------------------------------------------------------------- */
static void load_run(struct db_job *job, struct db_txn *txn)
{
	struct mbox *m = container_of(job, struct mbox, job);
	struct store_mailbox mb;

	/* Not db_env_last_txn, which may be ahead of what this transaction sees. */
	m->job_txn = db_txn_id(txn);
	if (store_mailbox_get(txn, m->account, m->id, &mb, &job->err) < 0)
		return;
	/* latest changes only when this job is done. */
	if (m->latest && mb.highestmodseq == m->latest->highestmodseq &&
	    mb.uidvalidity == m->latest->uidvalidity && mb.uidnext == m->latest->uidnext)
		return;
	store_snapshot_load(txn, m->account, m->id, &m->loaded, &job->err);
}

static void take_loaded(struct mbox *m)
{
	m->err = m->job.err;
	if (m->err.code == ERR_NOT_FOUND) {
		m->is_gone = true;
	} else if (m->err.code != ERR_NONE) {
		log_error("imap-load", LOG_U64("account", m->account), LOG_U64("mailbox", m->id),
		    LOG_ERR(&m->err));
		return;
	}
	m->txn = m->job_txn;
	if (!m->loaded)
		return;
	/* Only this process claims; while the mailbox is open, it knows best. */
	if (!m->latest)
		m->recent_next = m->recent_kept = m->loaded->recent_uid;
	store_snapshot_unref(m->latest);
	m->latest = m->loaded;
	m->loaded = NULL;
}

static bool has_idlers(const struct mbox *m)
{
	LIST_EACH (it, &m->views)
		if (container_of(it, struct view, link)->session->wait == WAIT_IDLE)
			return true;
	return false;
}

static void load_done(struct db_job *job)
{
	struct mbox *m = container_of(job, struct mbox, job);
	struct list ready;

	take_loaded(m);
	list_init(&ready);
	list_splice(&ready, &m->waiters);
	for (struct list *it; (it = list_take_first(&ready));) {
		struct refresh *r = container_of(it, struct refresh, link);

		r->done(r);
	}
	LIST_EACH_SAFE (it, &m->views)
		idle_news(container_of(it, struct view, link)->session);
	m->is_loading = false;
	list_splice(&m->waiters, &m->next_waiters);
	if (!list_is_empty(&m->waiters) || (m->is_dirty && has_idlers(m)))
		mbox_load(m);
	else
		mbox_release(m);
}

static void mbox_load(struct mbox *m)
{
	m->is_loading = true;
	m->is_dirty = false;
	m->job = (struct db_job){.run = load_run, .done = load_done};
	store_read(m->server->store, &m->job);
}

bool mbox_is_current(const struct mbox *m)
{
	return m->latest && m->txn == db_env_last_txn(store_env(m->server->store));
}

void mbox_refresh(struct mbox *m, struct refresh *r, void (*done)(struct refresh *r))
{
	r->done = done;
	if (m->is_loading) {
		list_append(&m->next_waiters, &r->link);
		return;
	}
	list_append(&m->waiters, &r->link);
	mbox_load(m);
}

void refresh_cancel(struct refresh *r)
{
	list_remove(&r->link);
}

static void changed(struct mbox *m)
{
	m->is_dirty = true;
	if (!m->is_loading && has_idlers(m))
		mbox_load(m);
}

static void changed_one(struct span key, void *value, void *arg)
{
	changed(value);
}

void mbox_changed(struct imapd *p, const struct store_change *c)
{
	struct mbox *m;

	if (c->account == 0) {
		hash_each(p->mboxes, changed_one, NULL);
		return;
	}
	m = find(p, c->account, c->mailbox);
	if (m)
		changed(m);
}
