#include "common/base/mem.h"
#include "imapd/imap.h"

void *task_new(struct session *s, size_t size)
{
	struct task *t = mem_zalloc(size);

	if (s->task)
		fatal("a second task in an IMAP session");
	t->session = s;
	s->task = t;
	return t;
}

void task_free(struct task *t)
{
	if (t->is_running)
		fatal("an IMAP task freed while it runs");
	t->session->task = NULL;
	if (t->clear)
		t->clear(t);
	mem_free(t);
}

static void task_came_back(struct task *t, const struct err *err)
{
	struct session *s = t->session;

	t->is_running = false;
	if (t->err.code == ERR_NONE)
		t->err = *err;
	if (s->conn)
		t->done(t);
	session_finish_op(s);
}

static void start(struct task *t)
{
	t->is_running = true;
	t->err = (struct err)ERR_INIT;
	t->session->pending++;
	t->session->wait = WAIT_RESULT;
}

static void read_run(struct db_job *job, struct db_txn *txn)
{
	struct task *t = container_of(job, struct task, job);

	t->read(t, txn, &t->err);
}

static void read_done(struct db_job *job)
{
	task_came_back(container_of(job, struct task, job), &job->err);
}

void task_read(struct task *t)
{
	start(t);
	t->job = (struct db_job){.run = read_run, .done = read_done};
	store_read(t->session->server->store, &t->job);
}

static int write_run(struct db_op *op, struct db_txn *txn, struct err *err)
{
	struct task *t = container_of(op, struct task, op);

	return t->write(t, txn, err);
}

static void write_done(struct db_op *op)
{
	task_came_back(container_of(op, struct task, op), &op->err);
}

void task_write(struct task *t)
{
	size_t cost = t->op.cost;
	enum db_need need = t->op.need;

	start(t);
	t->op = (struct db_op){.run = write_run, .done = write_done, .cost = cost, .need = need};
	store_write(t->session->server->store, &t->op);
}
