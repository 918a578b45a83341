/* What only authd knows: which number an account has. */
#include "common/maint/maint.h"

#include "common/ipc/ipc.h"

#include <unistd.h>

#define ASK_MS 30000

static int ask(struct maint *m, const struct ipc_admin *cmd,
    void (*fn)(void *arg, struct span record), void *arg, struct err *err)
{
	char path[CONFIG_PATH_MAX];
	struct strbuf buf;
	struct ipc_error end = {0};
	struct ipc_msg msg;
	int fd, rc = -1;

	if (config_run_path(m->cfg, RUN_ADMIN_SOCK, path, err) < 0)
		return -1;
	fd = ipc_sync_connect(path, ASK_MS, err);
	if (fd < 0)
		return err_wrap(err, "mailstead does not seem to run");
	strbuf_init(&buf, IPC_BODY_MAX);
	ipc_enc_admin(&buf, cmd);
	if (ipc_sync_send(fd, IPC_ADMIN, 1, strbuf_span(&buf), ASK_MS, err) < 0)
		goto out;
	while (
	    (rc = ipc_sync_recv(fd, &buf, &msg, ASK_MS, err)) == 0 && msg.type == IPC_ADMIN_RECORD)
		fn(arg, msg.body);
	if (rc == 0 && (!ipc_dec_error(msg.body, &end) || end.code != ERR_NONE))
		rc = err_set(err, end.code ? (enum err_code)end.code : ERR_INVALID, "%.*s",
		    SPAN_FMT(end.text));
out:
	strbuf_clear(&buf);
	close(fd);
	return rc;
}

static bool record_value(struct span record, const char *name, struct ipc_value *v)
{
	struct dec d = dec_of(record);

	while (ipc_rec_next(&d, v))
		if (span_eq(v->name, span_of(name)))
			return true;
	return false;
}

static void take_number(void *arg, struct span record)
{
	struct ipc_value v;

	if (record_value(record, "number", &v) && v.type != IPC_TEXT)
		*(uint64_t *)arg = v.number;
}

bool is_running(struct maint *m)
{
	char path[CONFIG_PATH_MAX];
	int fd = config_run_path(m->cfg, RUN_ADMIN_SOCK, path, NULL) < 0
		     ? -1
		     : ipc_sync_connect(path, ASK_MS, NULL);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

int account_number(struct maint *m, struct span address, uint64_t *number)
{
	struct ipc_admin cmd = {
	    .count = 3, .words = {SPAN_INIT("account"), SPAN_INIT("show"), address}};
	struct err err = ERR_INIT;

	*number = 0;
	if (ask(m, &cmd, take_number, number, &err) < 0)
		return maint_fail(m, &err);
	return *number > 0
		   ? 0
		   : maint_end(m, ERR_NOT_FOUND, "no such account: %.*s", SPAN_FMT(address));
}

struct accounts {
	void (*fn)(void *arg, struct span address, uint64_t number);
	void *arg;
};

static void take_account(void *arg, struct span record)
{
	struct accounts *a = arg;
	struct ipc_value address, number;

	if (record_value(record, "address", &address) && record_value(record, "number", &number))
		a->fn(a->arg, address.text, number.number);
}

int accounts_each(struct maint *m, void (*fn)(void *arg, struct span address, uint64_t number),
    void *arg, struct err *err)
{
	const struct ipc_admin cmd = {
	    .count = 2, .words = {SPAN_INIT("account"), SPAN_INIT("list")}};
	struct accounts a = {fn, arg};

	return ask(m, &cmd, take_account, &a, err);
}
