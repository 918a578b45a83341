/* The maildrop: its lock, its picture at login, and the UPDATE state (RFC 1939 sections 4 to 6). */
#include "pop3d/pop3.h"

#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/log/log.h"

#include <fcntl.h>

/* --- the lock: exclusive in this process by the table, across processes by a byte of a file ----*/
static struct span lock_key(const uint64_t *account)
{
	return span_make(account, sizeof(*account));
}

static bool lock_byte(struct pop3d *p, uint64_t account, short type)
{
	struct flock fl = {
	    .l_type = type,
	    .l_whence = SEEK_SET,
	    .l_start = (off_t)(account & INT32_MAX),
	    .l_len = 1,
	};

	return fcntl(p->lock_fd, F_OFD_SETLK, &fl) == 0;
}

static bool lock_take(struct session *s, uint64_t account)
{
	struct pop3d *p = s->server;

	if (hash_get(p->maildrops, lock_key(&account)) || !lock_byte(p, account, F_WRLCK))
		return false;
	hash_set(p->maildrops, lock_key(&account), s);
	s->account = account;
	s->has_lock = true;
	return true;
}

void maildrop_close(struct session *s)
{
	if (s->has_lock) {
		hash_remove(s->server->maildrops, lock_key(&s->account));
		lock_byte(s->server, s->account, F_UNLCK);
		s->has_lock = false;
	}
	store_snapshot_unref(s->drop);
	s->drop = NULL;
	mem_free(s->marks);
	s->marks = NULL;
}

/* --- loading ---------------------------------------------------------------------------------- */
struct load {
	struct db_job job;
	struct db_op op; /* creates the account's mailboxes at its first use */
	struct session *session;
	uint64_t account;
	struct store_snapshot *drop;
	bool was_ensured;
};

static void load_run(struct db_job *job, struct db_txn *txn)
{
	struct load *l = container_of(job, struct load, job);
	struct store_mailbox mb;

	if (store_mailbox_find(txn, l->account, SPAN("INBOX"), &mb, &job->err) < 0)
		return;
	if (store_snapshot_load(txn, l->account, mb.id, &l->drop, &job->err) < 0)
		l->drop = NULL;
}

static int load_ensure_run(struct db_op *op, struct db_txn *txn, struct err *err)
{
	struct load *l = container_of(op, struct load, op);

	return store_account_ensure(txn, l->account, err);
}

static void load_ensure_done(struct db_op *op)
{
	struct load *l = container_of(op, struct load, op);

	l->was_ensured = true;
	l->job.err = op->err;
	if (op->err.code != ERR_NONE)
		l->job.done(&l->job);
	else
		store_read(l->session->server->store, &l->job);
}

static void enter_transaction(struct session *s, struct store_snapshot *drop)
{
	s->drop = drop;
	s->marks = mem_array(drop->count + 1, 1);
	s->total_bytes = 0;
	for (size_t i = 0; i < drop->count; i++)
		s->total_bytes += drop->messages[i].size;
	s->is_in_transaction = true;
	reply_ok(s, "%zu messages", drop->count);
}

static void load_done(struct db_job *job)
{
	struct load *l = container_of(job, struct load, job);
	struct session *s = l->session;

	if (job->err.code == ERR_NOT_FOUND && !l->was_ensured && s->conn) {
		job->err = (struct err)ERR_INIT;
		l->op = (struct db_op){.run = load_ensure_run, .done = load_ensure_done};
		store_write(s->server->store, &l->op);
		return;
	}
	if (s->conn && l->drop) {
		enter_transaction(s, l->drop);
		l->drop = NULL;
		session_next(s);
	} else if (s->conn) {
		log_error("pop3-open", LOG_STR("session", s->id), LOG_U64("account", l->account),
		    LOG_ERR(&job->err));
		reply_err(s, "[SYS/TEMP] The maildrop cannot be opened, try later");
		maildrop_close(s);
		session_next(s);
	}
	store_snapshot_unref(l->drop);
	mem_free(l);
	session_finish_op(s);
}

void maildrop_open(struct session *s, uint64_t account)
{
	struct load *l;

	if (!lock_take(s, account)) {
		reply_err(s, "[IN-USE] Another session has this maildrop open");
		session_next(s);
		return;
	}
	l = mem_zalloc(sizeof(*l));
	l->session = s;
	l->account = account;
	l->job.run = load_run;
	l->job.done = load_done;
	s->pending++;
	s->wait = WAIT_RESULT;
	store_read(s->server->store, &l->job);
}

ssize_t maildrop_number(struct session *s, struct span arg)
{
	uint64_t n;

	if (!span_u64(arg, UINT32_MAX, &n)) {
		reply_bad(s, "A message number is needed");
		return -1;
	}
	if (n < 1 || n > s->drop->count || (s->marks[n - 1] & MARK_DELETED)) {
		reply_err(s, "No such message");
		return -1;
	}
	return (ssize_t)n - 1;
}

/* --- UPDATE ----------------------------------------------------------------------------------- */
struct update {
	struct db_op op;
	struct session *session;
	uint64_t account, mailbox;
	struct uidset gone, seen;
};

static int update_run(struct db_op *op, struct db_txn *txn, struct err *err)
{
	struct update *u = container_of(op, struct update, op);
	const struct store_flags_change seen = {.mode = FLAGS_ADD, .flags = FLAG_SEEN};

	if (u->seen.n > 0 &&
	    store_flags_change(txn, u->account, u->mailbox, &u->seen, &seen, NULL, NULL, err) < 0)
		return -1;
	if (u->gone.n > 0 &&
	    store_expunge(txn, u->account, u->mailbox, &u->gone, false, NULL, NULL, err) < 0)
		return -1;
	return 0;
}

static void update_done(struct db_op *op)
{
	struct update *u = container_of(op, struct update, op);
	struct session *s = u->session;

	if (op->err.code != ERR_NONE)
		log_error("pop3-update", LOG_STR("session", s->id), LOG_U64("account", u->account),
		    LOG_ERR(&op->err));
	else
		log_info("pop3-update", LOG_STR("session", s->id), LOG_U64("account", u->account),
		    LOG_U64("deleted", uidset_count(&u->gone)));
	uidset_clear(&u->gone);
	uidset_clear(&u->seen);
	/* Who sees the answer may log in again at once: the lock goes first. */
	maildrop_close(s);
	if (s->conn) {
		if (op->err.code == ERR_NONE)
			reply_ok(s, "Bye");
		else
			reply_err(s, "[SYS/TEMP] Deleted messages were not removed");
		session_end(s);
	}
	mem_free(u);
	session_finish_op(s);
}

void maildrop_update(struct session *s)
{
	struct update *u = mem_zalloc(sizeof(*u));

	u->session = s;
	u->account = s->account;
	u->mailbox = s->drop->mailbox;
	uidset_init(&u->gone);
	uidset_init(&u->seen);
	for (size_t i = 0; i < s->drop->count; i++) {
		const struct store_message *m = &s->drop->messages[i];

		if (s->marks[i] & MARK_DELETED)
			uidset_add(&u->gone, m->uid);
		else if ((s->marks[i] & MARK_RETRIEVED) && !(m->flags & FLAG_SEEN))
			uidset_add(&u->seen, m->uid);
	}
	u->op.run = update_run;
	u->op.done = update_done;
	s->pending++;
	s->wait = WAIT_RESULT;
	store_write(s->server->store, &u->op);
}
