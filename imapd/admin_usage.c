/* usage: what accounts take up, for authd's lists. */
#include "imapd/imap.h"

#include "common/base/mem.h"

#define ACCOUNTS_MAX 10000
#define RECORD_MAX 128

struct counting {
	struct db_job job;
	struct admin_request rq;
	uint64_t *numbers;
	struct store_usage *usage;
	size_t count;
};

static void run(struct db_job *job, struct db_txn *txn)
{
	struct counting *c = container_of(job, struct counting, job);

	for (size_t i = 0; i < c->count; i++) {
		struct err err = ERR_INIT;

		/* One that never had mail has no row: nothing. */
		if (store_account_usage(txn, c->numbers[i], &c->usage[i], &err) < 0 &&
		    err.code != ERR_NOT_FOUND) {
			job->err = err;
			return;
		}
	}
}

static void done(struct db_job *job)
{
	struct counting *c = container_of(job, struct counting, job);

	for (size_t i = 0; job->err.code == ERR_NONE && i < c->count; i++) {
		struct strbuf row;

		strbuf_init(&row, RECORD_MAX);
		ipc_rec_number(&row, "account", IPC_NUMBER, c->numbers[i]);
		ipc_rec_number(&row, "used", IPC_BYTES, c->usage[i].bytes);
		ipc_rec_number(&row, "messages", IPC_NUMBER, c->usage[i].messages);
		admin_record(&c->rq, &row);
		strbuf_clear(&row);
	}
	admin_end(&c->rq, job->err.code, "%s", job->err.code == ERR_NONE ? "" : job->err.text);
	mem_free(c->numbers);
	mem_free(c->usage);
	mem_free(c);
}

void imapd_admin_usage(struct imapd *p, const struct ipc_admin *cmd, const struct admin_request *rq)
{
	size_t n = cmd->content.n / sizeof(uint64_t);
	struct dec d = dec_of(cmd->content);
	struct counting *c;

	if (n > ACCOUNTS_MAX) {
		admin_end(rq, ERR_LIMIT, "too many accounts");
		return;
	}
	c = mem_zalloc(sizeof(*c));
	c->rq = *rq;
	c->count = n;
	c->numbers = mem_zalloc((n + 1) * sizeof(*c->numbers));
	c->usage = mem_zalloc((n + 1) * sizeof(*c->usage));
	for (size_t i = 0; i < n; i++)
		c->numbers[i] = dec_u64(&d);
	c->job.run = run;
	c->job.done = done;
	store_read(p->store, &c->job);
}
