/* admin.sock (root or our own uid) and web.sock (whoever holds a session's token). */
#include "common/authd/call.h"
#include "common/daemon/identity.h"

#include <errno.h>
#include <unistd.h>

static void refuse(struct ipc_server *s, const struct ipc_peer *peer, uint32_t id,
    enum err_code code, struct span text)
{
	struct ipc_error e = {.code = (uint16_t)code, .text = text};
	struct strbuf b;

	strbuf_init(&b, 1024);
	ipc_enc_error(&b, &e);
	ipc_reply(s, peer, id, IPC_ERROR, strbuf_span(&b));
	strbuf_clear(&b);
}

static void on_admin(void *arg, const struct ipc_peer *peer, const struct ipc_msg *msg)
{
	struct authd *a = arg;

	if (msg->type != IPC_ADMIN)
		refuse(a->admin, peer, msg->id, ERR_INVALID, SPAN("malformed request"));
	else if (peer->uid != 0 && peer->uid != getuid())
		refuse(a->admin, peer, msg->id, ERR_DENIED, SPAN("only root may do this"));
	else
		call_start(a, a->admin, peer, msg->id, msg->body, false);
}

static void on_web(void *arg, const struct ipc_peer *peer, const struct ipc_msg *msg)
{
	struct authd *a = arg;

	if (msg->type != IPC_ADMIN)
		refuse(a->web, peer, msg->id, ERR_INVALID, SPAN("malformed request"));
	else
		call_start(a, a->web, peer, msg->id, msg->body, true);
}

/* The web admin's group, and no other, may connect; under one uid that is everybody's. */
static int give_to_web(const struct authd *a, const char *path, struct err *err)
{
	struct identities ids;

	identities_find(a->cfg, &ids, NULL);
	if (!ids.are_known || ids.who[WHO_AUTH].uid != getuid())
		return 0;
	if (chown(path, (uid_t)-1, ids.who[WHO_WEB].gid) < 0)
		return err_errno(err, errno, "%s: giving it to the web admin", path);
	return 0;
}

int admin_server_open(struct authd *a, struct err *err)
{
	static const struct ipc_server_ops admin = {.on_message = on_admin};
	static const struct ipc_server_ops web = {.on_message = on_web};
	char path[CONFIG_PATH_MAX];

	if (config_run_path(a->cfg, RUN_ADMIN_SOCK, path, err) < 0)
		return -1;
	a->admin = ipc_server_new(a->loop, path, 0600, &admin, a, err);
	if (!a->admin || config_run_path(a->cfg, RUN_WEB_SOCK, path, err) < 0)
		return -1;
	a->web = ipc_server_new(a->loop, path, 0660, &web, a, err);
	return a->web ? give_to_web(a, path, err) : -1;
}
