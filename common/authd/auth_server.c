/* auth.sock: what roles ask. */
#include "common/authd/sending.h"

#include "common/base/mem.h"
#include "common/daemon/identity.h"
#include "common/event/clock.h"
#include "common/log/log.h"

#include <unistd.h>

/* A login's way back: the peer may be gone by then, ipc_reply knows. */
struct question {
	struct authd *a;
	struct ipc_peer peer;
	uint32_t id;
};

static void refuse(
    struct authd *a, const struct ipc_peer *peer, uint32_t id, enum err_code code, struct span text)
{
	struct ipc_error e = {.code = (uint16_t)code, .text = text};
	struct strbuf b;

	strbuf_init(&b, 1024);
	ipc_enc_error(&b, &e);
	ipc_reply(a->auth, peer, id, IPC_ERROR, strbuf_span(&b));
	strbuf_clear(&b);
}

static void on_login_answer(void *arg, const struct login_answer *answer)
{
	struct question *q = arg;
	struct ipc_login_result r = {
	    .status = (uint8_t)answer->status, .text = span_of(answer->text)};
	uint64_t most[LIMIT_COUNT];
	struct strbuf b;

	if (answer->account && answer->status == LOGIN_OK) {
		r.account = answer->account->number;
		r.address = answer->account->row.address;
		r.quota_bytes = answer->account->row.quota_bytes;
		r.quota_messages = answer->account->row.quota_messages;
		sending_limits(q->a->cfg, answer->account, most);
		r.sessions_max = most[LIMIT_SESSIONS];
	}
	strbuf_init(&b, 4096);
	ipc_enc_login_result(&b, &r);
	if (q->a->auth)
		ipc_reply(q->a->auth, &q->peer, q->id, IPC_AUTH_RESULT, strbuf_span(&b));
	strbuf_clear(&b);
	mem_free(q);
}

static bool on_login(struct authd *a, const struct ipc_peer *peer, const struct ipc_msg *msg)
{
	struct ipc_login login;
	struct question *q;

	if (!ipc_dec_login(msg->body, &login))
		return false;
	q = mem_zalloc(sizeof(*q));
	*q = (struct question){a, *peer, msg->id};
	/* The web logs in through web.sock, where a session comes of it. */
	if (span_eq(login.protocol, SPAN("web")))
		login.protocol = span_of(NULL);
	login_ask(a, &login, on_login_answer, q);
	return true;
}

/* An answer to a sender that was rewritten; original is whom it is for. A forged one is just an
 * address that nobody has. */
static bool is_returning(const struct authd *a, struct span address, char original[SRS_MAX + 1])
{
	ssize_t at = span_rchr(address, '@');

	original[0] = '\0';
	if (at < 0 || !a->has_srs_key || !srs_is_one(span_sub(address, 0, (size_t)at)) ||
	    !(index_domain(&a->index, span_from(address, (size_t)at + 1)) ||
		index_domain_alias(&a->index, span_from(address, (size_t)at + 1))))
		return false;
	if (srs_reverse(a->srs_key, span_sub(address, 0, (size_t)at), clock_now(), original))
		return true;
	original[0] = '\0';
	return false;
}

static bool on_resolve(struct authd *a, const struct ipc_peer *peer, const struct ipc_msg *msg)
{
	struct resolver rv = authd_resolver(a);
	struct ipc_resolve question;
	struct resolve_result r;
	struct ipc_target *targets;
	char original[SRS_MAX + 1] = "";
	struct span address;
	struct strbuf b;

	if (!ipc_dec_resolve(msg->body, &question))
		return false;
	address = question.address;
	if (is_returning(a, question.address, original))
		address = span_of(original);
	resolve(&rv, address, &r);
	/* What comes back to a sender elsewhere goes on to him. */
	if (original[0] && r.status == RESOLVE_REMOTE)
		resolve_to_remote(&r, address);
	targets = mem_array(r.count + 1, sizeof(*targets));
	for (uint32_t i = 0; i < r.count; i++) {
		const struct account *acc = r.targets[i].account;

		if (!acc) {
			targets[i] = (struct ipc_target){
			    .address = r.targets[i].remote, .detail = span_make("", 0)};
			continue;
		}
		targets[i] = (struct ipc_target){
		    .account = acc->number,
		    .quota_bytes = acc->row.quota_bytes,
		    .quota_messages = acc->row.quota_messages,
		    .address = acc->row.address,
		    .detail = span_make(r.targets[i].detail, r.targets[i].detail_n),
		};
	}
	if (r.status == RESOLVE_TEMP)
		log_warning("auth-resolve", LOG_SPAN("address", question.address),
		    LOG_U64("count", r.count));
	strbuf_init(&b, IPC_BODY_MAX);
	ipc_enc_resolved(&b, r.status, targets, r.status == RESOLVE_LOCAL ? r.count : 0);
	ipc_reply(a->auth, peer, msg->id, IPC_AUTH_RESOLVED, strbuf_span(&b));
	strbuf_clear(&b);
	mem_free(targets);
	resolve_clear(&r);
	return true;
}

static bool on_sender(struct authd *a, const struct ipc_peer *peer, const struct ipc_msg *msg)
{
	struct resolver rv = authd_resolver(a);
	const struct account *acc;
	struct ipc_sender q;
	char may = 0;

	if (!ipc_dec_sender(msg->body, &q))
		return false;
	acc = index_number(&a->index, q.account);
	if (acc && !account_is_deleting(acc) &&
	    !(acc->row.flags & (USER_DISABLED | USER_RECEIVE_ONLY)))
		may = resolve_may_send(&rv, acc, q.address);
	ipc_reply(a->auth, peer, msg->id, IPC_AUTH_SENDER_RESULT, span_make(&may, 1));
	return true;
}

static bool on_submit(struct authd *a, const struct ipc_peer *peer, const struct ipc_msg *msg)
{
	struct ipc_submit_result r = {.status = SUBMIT_NOT_YOURS, .text = span_of("")};
	char text[SENDING_TEXT_MAX];
	const struct account *acc;
	struct ipc_submit q;
	struct strbuf b;

	if (!ipc_dec_submit(msg->body, &q))
		return false;
	acc = index_number(&a->index, q.account);
	if (acc && !account_is_deleting(acc) &&
	    !(acc->row.flags & (USER_DISABLED | USER_RECEIVE_ONLY))) {
		r.status = (uint8_t)sending_ask(a, acc, &q, clock_now(), text);
		r.text = span_of(text);
	}
	strbuf_init(&b, 1024);
	ipc_enc_submit_result(&b, &r);
	ipc_reply(a->auth, peer, msg->id, IPC_AUTH_SUBMIT_RESULT, strbuf_span(&b));
	strbuf_clear(&b);
	return true;
}

static struct span domain_of(struct span address)
{
	ssize_t at = span_rchr(address, '@');

	return at < 0 ? span_make("", 0) : span_from(address, (size_t)at + 1);
}

static bool is_ours(const struct authd *a, struct span domain)
{
	return index_domain(&a->index, domain) || index_domain_alias(&a->index, domain);
}

/* Our own senders stay who they are: we are in their SPF record. */
static bool on_forward(struct authd *a, const struct ipc_peer *peer, const struct ipc_msg *msg)
{
	char text[SRS_MAX + 1] = "";
	struct ipc_forward q;

	if (!ipc_dec_forward(msg->body, &q))
		return false;
	if (!a->has_srs_key) {
		refuse(a, peer, msg->id, ERR_TEMP, SPAN("there is no key yet"));
		return true;
	}
	if (q.sender.n == 0 || is_ours(a, domain_of(q.sender)) ||
	    !is_ours(a, domain_of(q.address)) ||
	    !srs_forward(a->srs_key, q.sender, domain_of(q.address), clock_now(), text))
		text[0] = '\0';
	ipc_reply(a->auth, peer, msg->id, IPC_AUTH_FORWARDED, span_of(text));
	return true;
}

/* Passwords of other servers are for the process that logs in there, and nobody else. */
static bool may_see_routes(struct authd *a, const struct ipc_peer *peer)
{
	struct identities ids;

	if (!a->routes.has_asker) {
		identities_find(a->cfg, &ids, NULL);
		a->routes.asker = ids.are_known && getuid() == ids.who[WHO_AUTH].uid
				      ? ids.who[WHO_OUT].uid
				      : getuid();
		a->routes.has_asker = true;
	}
	return peer->uid == a->routes.asker;
}

static bool on_route(struct authd *a, const struct ipc_peer *peer, const struct ipc_msg *msg)
{
	struct ipc_route_ask ask;
	struct strbuf b;

	if (!ipc_dec_route_ask(msg->body, &ask))
		return false;
	if (!may_see_routes(a, peer)) {
		refuse(a, peer, msg->id, ERR_DENIED, SPAN("routes are not yours"));
		return true;
	}
	strbuf_init(&b, 64 * 1024);
	routes_answer(&a->routes, &ask, &b);
	ipc_reply(a->auth, peer, msg->id, IPC_AUTH_ROUTE_IS, strbuf_span(&b));
	mem_wipe(b.p, b.n);
	strbuf_clear(&b);
	return true;
}

static void on_message(void *arg, const struct ipc_peer *peer, const struct ipc_msg *msg)
{
	struct authd *a = arg;
	bool ok = false;

	switch (msg->type) {
	case IPC_AUTH_LOGIN:
		ok = on_login(a, peer, msg);
		break;
	case IPC_AUTH_RESOLVE:
		ok = on_resolve(a, peer, msg);
		break;
	case IPC_AUTH_SENDER:
		ok = on_sender(a, peer, msg);
		break;
	case IPC_AUTH_SUBMIT:
		ok = on_submit(a, peer, msg);
		break;
	case IPC_AUTH_FORWARD:
		ok = on_forward(a, peer, msg);
		break;
	case IPC_AUTH_ROUTE:
		ok = on_route(a, peer, msg);
		break;
	default:
		break;
	}
	if (!ok)
		refuse(a, peer, msg->id, ERR_INVALID, SPAN("malformed request"));
}

int auth_server_open(struct authd *a, struct err *err)
{
	static const struct ipc_server_ops ops = {.on_message = on_message};
	char path[CONFIG_PATH_MAX];

	if (config_run_path(a->cfg, RUN_AUTH_SOCK, path, err) < 0)
		return -1;
	a->auth = ipc_server_new(a->loop, path, 0660, &ops, a, err);
	return a->auth ? 0 : -1;
}
