/*
 * QUOTA (RFC 9208): one root, "", for all mailboxes of an account, if the account has limits. They
 * come with the login and are set in the admin plane: SETQUOTA is refused.
 */
#include "imapd/imap.h"
#include "imapd/mailbox.h"

#include "common/base/mem.h"
#include "common/mail/imapstr.h"

struct quota_task {
	struct task task;
	struct store_usage usage;
};

static bool has_quota(const struct session *s)
{
	return s->limits.quota_bytes || s->limits.quota_messages;
}

static void quota_read(struct task *t, struct db_txn *txn, struct err *err)
{
	struct quota_task *q = container_of(t, struct quota_task, task);

	store_account_usage(txn, t->session->account, &q->usage, err);
}

/* STORAGE counts in units of 1,024 bytes. */
static void write_quota(struct session *s, const struct store_usage *u)
{
	uint64_t bytes = u->bytes + (s->limits.counts_kept ? u->kept_bytes : 0);
	uint64_t messages = u->messages + (s->limits.counts_kept ? u->kept_messages : 0);
	struct strbuf b;
	const char *sep = "";

	strbuf_init(&b, 1024);
	strbuf_add_str(&b, "QUOTA \"\" (");
	if (s->limits.quota_bytes) {
		strbuf_addf(&b, "STORAGE %llu %llu", (unsigned long long)((bytes + 1023) / 1024),
		    (unsigned long long)(s->limits.quota_bytes / 1024));
		sep = " ";
	}
	if (s->limits.quota_messages)
		strbuf_addf(&b, "%sMESSAGE %llu %llu", sep, (unsigned long long)messages,
		    (unsigned long long)s->limits.quota_messages);
	strbuf_add_chr(&b, ')');
	untagged(s, "%s", b.p);
	strbuf_clear(&b);
}

static void quota_done(struct task *t)
{
	struct session *s = t->session;

	if (t->err.code != ERR_NONE) {
		finish_err(s, &t->err);
	} else {
		write_quota(s, &container_of(t, struct quota_task, task)->usage);
		finish_sync(s, true, "OK Quota told");
	}
	task_free(t);
}

static void quota(struct session *s)
{
	struct quota_task *q = task_new(s, sizeof(*q));

	q->task.read = quota_read;
	q->task.done = quota_done;
	task_read(&q->task);
}

void cmd_getquota(struct session *s, struct parser *p)
{
	struct span root;

	if (!parse_astring(p, &root) || !parse_end(p))
		finish_bad(s, "GETQUOTA root");
	else if (root.n > 0 || !has_quota(s))
		finish(s, "NO [NONEXISTENT] There is no such quota root");
	else
		quota(s);
}

/* The mailbox need not exist (RFC 9208 section 4.2). */
void cmd_getquotaroot(struct session *s, struct parser *p)
{
	char name[STORE_NAME_MAX + 1];
	struct err err = ERR_INIT;
	struct span raw;
	struct strbuf b;

	if (!parse_mailbox(p, &raw) || !parse_end(p)) {
		finish_bad(s, "GETQUOTAROOT mailbox");
		return;
	}
	if (store_name_check(raw, name, &err) < 0) {
		finish_err(s, &err);
		return;
	}
	strbuf_init(&b, 16 * 1024);
	strbuf_add_str(&b, "* QUOTAROOT ");
	write_mailbox(&b, span_of(name), s->has_utf8);
	strbuf_add_str(&b, has_quota(s) ? " \"\"\r\n" : "\r\n");
	conn_write(s->conn, strbuf_span(&b));
	strbuf_clear(&b);
	if (has_quota(s))
		quota(s);
	else
		finish_sync(s, true, "OK No limits");
}

void cmd_setquota(struct session *s, struct parser *p)
{
	finish(s, "NO [NOPERM] Limits are set by the administrator");
}
