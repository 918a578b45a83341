#include "smtpd/fetch/fetch.h"

#include "common/base/mem.h"
#include "common/log/log.h"

static void refuse(struct fetcher *f, const struct ipc_peer *peer, uint32_t id, enum err_code code,
    struct span why)
{
	struct strbuf body;

	strbuf_init(&body, 512);
	ipc_enc_error(&body, &(struct ipc_error){.code = (uint16_t)code, .text = why});
	ipc_reply(f->server, peer, id, IPC_ERROR, strbuf_span(&body));
	strbuf_clear(&body);
}

static void on_message(void *arg, const struct ipc_peer *peer, const struct ipc_msg *msg)
{
	struct fetcher *f = arg;
	struct ipc_policy_ask ask;

	/* Whoever else could ask would have a way out to the network. */
	if (!peer_is(f->role->cfg, peer, "smtpd-send"))
		refuse(f, peer, msg->id, ERR_DENIED, SPAN("only smtpd-send may ask"));
	else if (msg->type != IPC_POLICY_FETCH || !ipc_dec_policy_ask(msg->body, &ask))
		refuse(f, peer, msg->id, ERR_INVALID, SPAN("malformed request"));
	else if (f->role->is_draining || f->count == FETCHES_MAX)
		refuse(f, peer, msg->id, ERR_TEMP, SPAN("not now"));
	else
		fetch_start(f, peer, msg->id, &ask);
}

static int start(struct role *r, struct err *err)
{
	static const struct ipc_server_ops ops = {.on_message = on_message};
	struct fetcher *f = mem_zalloc(sizeof(*f));
	char path[CONFIG_PATH_MAX];

	r->ctx = f;
	f->role = r;
	list_init(&f->running);
	if (config_run_path(r->cfg, RUN_FETCH_SOCK, path, err) < 0)
		return -1;
	f->server = ipc_server_new(r->loop, path, 0660, &ops, f, err);
	return f->server ? 0 : -1;
}

/* Nobody loses anything: who asked asks again. */
static void on_drain(struct role *r)
{
	role_finished(r);
}

static void status(struct role *r, struct strbuf *record)
{
	const struct fetcher *f = r->ctx;

	ipc_rec_number(record, "fetched", IPC_NUMBER, f->fetched);
	ipc_rec_number(record, "failed", IPC_NUMBER, f->failed);
	ipc_rec_number(record, "under-way", IPC_NUMBER, f->count);
}

static void stop(struct role *r)
{
	struct fetcher *f = r->ctx;

	if (!f)
		return;
	fetch_stop_all(f);
	ipc_server_free(f->server);
	mem_free(f);
}

int main(int argc, char **argv)
{
	static const struct role_ops ops = {
	    .name = "smtpd-fetch",
	    .net = SANDBOX_ANY_NET,
	    .asks_nobody = true,
	    .start = start,
	    .on_drain = on_drain,
	    .status = status,
	    .stop = stop,
	};

	return role_main(argc, argv, &ops);
}
