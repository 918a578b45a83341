/* One policy: address after address until one answers, TLS that is verified, one GET. */
#include "smtpd/fetch/fetch.h"

#include "common/base/mem.h"
#include "common/log/log.h"
#include "common/mail/mta_sts.h"
#include "common/net/conn.h"
#include "common/net/connector.h"
#include "smtpd/fetch/http.h"

#include <stdio.h>
#include <string.h>

#define CONNECT_MS 15000
#define HOST_MAX 253
#define HOST_PREFIX "mta-sts."
#define SYSTEM_AUTHORITIES "/etc/ssl/certs/ca-certificates.crt"

struct fetch {
	struct list link;
	struct fetcher *fetcher;
	struct ipc_peer peer;
	uint32_t id;
	char host[HOST_MAX + 1];
	struct net_addr addrs[IPC_POLICY_ADDRESSES];
	size_t count, next;
	struct connector *connector;
	struct conn *conn;
	bool is_secure;
	struct http_reader http;
	struct timer deadline;
	struct err last;
	enum ipc_policy_status failure;
};

static void next_address(struct fetch *k);

static void fetch_free(struct fetch *k)
{
	struct fetcher *f = k->fetcher;

	list_remove(&k->link);
	f->count--;
	connector_free(k->connector);
	conn_free(k->conn);
	http_clear(&k->http);
	timer_clear(&k->deadline);
	mem_free(k);
	if (f->count > 0)
		return;
	tls_context_unref(f->tls);
	f->tls = NULL;
}

static void answer(struct fetch *k, enum ipc_policy_status status, struct span text)
{
	struct ipc_policy m = {.status = (uint8_t)status, .text = text};
	struct fetcher *f = k->fetcher;
	struct strbuf body;

	strbuf_init(&body, STS_TEXT_MAX + 64);
	ipc_enc_policy(&body, &m);
	ipc_reply(f->server, &k->peer, k->id, IPC_POLICY_IS, strbuf_span(&body));
	strbuf_clear(&body);
	f->fetched += status == POLICY_FOUND;
	f->failed += status != POLICY_FOUND;
	fetch_free(k);
}

static void give_up(struct fetch *k, enum ipc_policy_status status, const struct err *why)
{
	log_info("policy-failed", LOG_STR("host", k->host), LOG_ERR(why));
	answer(k, status, span_of(why->text));
}

static void take_policy(struct fetch *k)
{
	struct err err = ERR_INIT;
	struct sts_policy policy;
	struct strbuf text;

	if (sts_policy_parse(strbuf_span(&k->http.body), &policy, &err) < 0) {
		give_up(k, POLICY_INVALID, &err);
		return;
	}
	strbuf_init(&text, STS_TEXT_MAX);
	sts_policy_format(&policy, &text);
	if (text.failed) {
		err_set(&err, ERR_LIMIT, "longer than %d bytes", STS_TEXT_MAX);
		give_up(k, POLICY_INVALID, &err);
	} else {
		log_info("policy-fetched", LOG_STR("host", k->host),
		    LOG_STR("mode", sts_mode_name(policy.mode)),
		    LOG_U64("max-age", policy.max_age));
		answer(k, POLICY_FOUND, strbuf_span(&text));
	}
	strbuf_clear(&text);
}

/* --- the connection --------------------------------------------------------------------------- */
static void on_input(void *arg)
{
	struct fetch *k = arg;
	struct err err = ERR_INIT;
	size_t used;

	if (!k->is_secure)
		return;
	if (http_read(&k->http, conn_input(k->conn), &used, &err) < 0) {
		give_up(k, POLICY_INVALID, &err);
		return;
	}
	conn_consume(k->conn, used);
	if (k->http.state == HTTP_DONE)
		take_policy(k);
}

static void on_secure(void *arg)
{
	struct fetch *k = arg;

	k->is_secure = true;
	conn_writef(k->conn,
	    "GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: %s\r\n"
	    "User-Agent: mailstead\r\nAccept: text/plain\r\nAccept-Encoding: identity\r\n"
	    "Connection: close\r\n\r\n",
	    k->host);
}

/* Before the answer begins another address may do better. */
static void on_close(void *arg, const struct err *why)
{
	struct fetch *k = arg;

	if (k->is_secure) {
		give_up(k, POLICY_UNREACHABLE, why);
		return;
	}
	k->last = *why;
	k->failure =
	    conn_tls_fault(k->conn) != TLS_FAULT_NONE ? POLICY_NOT_TRUSTED : POLICY_UNREACHABLE;
	conn_free(k->conn);
	k->conn = NULL;
	next_address(k);
}

static void on_connected(void *arg, int fd, const struct err *why)
{
	static const struct conn_ops ops = {
	    .on_input = on_input, .on_secure = on_secure, .on_close = on_close};
	struct fetch *k = arg;
	struct err err;

	k->connector = NULL;
	if (fd < 0) {
		k->last = *why;
		k->failure = POLICY_UNREACHABLE;
		next_address(k);
		return;
	}
	k->conn = conn_new(k->fetcher->role->loop, fd, &k->addrs[k->next - 1], NULL, &ops, k);
	if (conn_start_tls_client(k->conn, k->fetcher->tls, k->host, &err) < 0)
		give_up(k, POLICY_UNREACHABLE, &err);
}

static void next_address(struct fetch *k)
{
	if (k->next == k->count) {
		give_up(k, k->failure, &k->last);
		return;
	}
	k->connector = connector_new(
	    k->fetcher->role->loop, &k->addrs[k->next++], NULL, CONNECT_MS, on_connected, k);
}

static void on_deadline(void *arg)
{
	struct fetch *k = arg;
	struct err err;

	err_set(&err, ERR_TIMEOUT, "no policy within %d s", FETCH_MS / 1000);
	give_up(k, POLICY_UNREACHABLE, &err);
}

/* --- the beginning ---------------------------------------------------------------------------- */
static bool open_tls(struct fetcher *f, struct err *err)
{
	const char *file = config_str(f->role->cfg, SET_TLS_CA_FILE);

	if (!f->tls)
		f->tls = tls_client_context_new(file[0] ? file : SYSTEM_AUTHORITIES, err);
	return f->tls != NULL;
}

/* It stands in a header field. */
static bool take_name(struct fetch *k, struct span domain)
{
	if (domain.n == 0 || domain.n + strlen(HOST_PREFIX) > HOST_MAX)
		return false;
	for (size_t i = 0; i < domain.n; i++)
		if (!ascii_is_alnum(domain.p[i]) && !strchr("-._", domain.p[i]))
			return false;
	snprintf(k->host, sizeof(k->host), HOST_PREFIX "%.*s", SPAN_FMT(domain));
	return true;
}

void fetch_start(
    struct fetcher *f, const struct ipc_peer *peer, uint32_t id, const struct ipc_policy_ask *ask)
{
	uint16_t port = (uint16_t)config_u64(f->role->cfg, SET_MTA_STS_PORT);
	struct fetch *k = mem_zalloc(sizeof(*k));
	struct err err = ERR_INIT;

	k->fetcher = f;
	k->peer = *peer;
	k->id = id;
	k->failure = POLICY_UNREACHABLE;
	err_set(&k->last, ERR_NOT_FOUND, "no address");
	http_init(&k->http, STS_TEXT_MAX);
	timer_init(&k->deadline, f->role->loop, on_deadline, k);
	list_append(&f->running, &k->link);
	f->count++;
	for (uint32_t i = 0; i < ask->count; i++)
		if (net_addr_parse(&k->addrs[k->count], ask->addresses[i], port, NULL) == 0)
			k->count++;
	if (!take_name(k, ask->domain)) {
		err_set(&err, ERR_INVALID, "no name of a host");
		give_up(k, POLICY_UNREACHABLE, &err);
	} else if (!open_tls(f, &err)) {
		give_up(k, POLICY_UNREACHABLE, &err);
	} else {
		timer_set(&k->deadline, FETCH_MS);
		next_address(k);
	}
}

void fetch_stop_all(struct fetcher *f)
{
	LIST_EACH_SAFE (it, &f->running)
		fetch_free(container_of(it, struct fetch, link));
}
