/* <run>/keyd/keyd.sock: monitors fetch certificates with their keys, and are told of changes. */
#include "common/base/mem.h"
#include "common/crypto/crypto.h"
#include "common/daemon/keys.h"
#include "common/keyd/dkim.h"
#include "common/keyd/keyd.h"
#include "common/keyd/pki.h"
#include "common/keyd/shelf.h"
#include "common/log/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WATCHERS_MAX 256
#define FETCHES_MAX 64
#define PURPOSE_MAX 64

struct watcher {
	struct list link;
	struct ipc_peer peer;
	uint32_t id;
	bool is_for_dkim;
};

struct fetch {
	struct work work;
	struct keyd *k;
	struct ipc_peer peer;
	uint32_t id;
	uint64_t generation;
	uint32_t count;
	char ids[IPC_KEY_IDS_MAX][KEY_ID_MAX + 1];
	char after[DKIM_DOMAIN_MAX + 1]; /* of signing keys */
	struct strbuf set;
	struct err err;
};

static void answer_error(
    struct keyd *k, const struct ipc_peer *peer, uint32_t id, const struct err *err)
{
	struct strbuf b;

	strbuf_init(&b, 1024);
	ipc_enc_error(
	    &b, &(struct ipc_error){.code = (uint16_t)err->code, .text = span_of(err->text)});
	ipc_reply(k->server, peer, id, IPC_ERROR, strbuf_span(&b));
	strbuf_clear(&b);
}

/* --- ticket keys ------------------------------------------------------------------------------ */
void ticket_derive(const unsigned char *master, struct span purpose, unsigned char *out)
{
	static const struct {
		const char *label;
		size_t at, n;
	} parts[] = {{"name", 0, 16}, {"aes", 16, 32}, {"hmac", 48, 32}};
	unsigned char hash[SHA256_LEN];
	struct strbuf text;

	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		strbuf_init(&text, 256);
		strbuf_addf(&text, "mailstead ticket %s ", parts[i].label);
		strbuf_add(&text, purpose);
		hmac_sha256(span_make(master, TICKET_MASTER_LEN), strbuf_span(&text), hash);
		memcpy(out + parts[i].at, hash, parts[i].n);
		strbuf_clear(&text);
	}
	mem_wipe(hash, sizeof(hash));
}

void serve_rotate(struct keyd *k)
{
	memmove(k->masters[1], k->masters[0], sizeof(k->masters) - sizeof(k->masters[0]));
	random_bytes(k->masters[0], sizeof(k->masters[0]));
	if (k->master_count < TICKET_MASTERS)
		k->master_count++;
}

/* --- fetching --------------------------------------------------------------------------------- */
static int add_cert(struct fetch *f, const char *id, struct strbuf *bundle, struct strbuf *ocsp)
{
	struct ipc_key_cert cert = {.id = span_of(id)};
	struct err none = ERR_INIT;
	struct span text;
	ssize_t at;

	strbuf_reset(bundle);
	strbuf_reset(ocsp);
	if (shelf_read(f->k->dir, id, SLOT_CURRENT, bundle, &f->err) < 0)
		return -1;
	text = strbuf_span(bundle);
	at = span_find(text, SPAN("-----BEGIN CERTIFICATE-----"));
	if (at < 0)
		return err_set(&f->err, ERR_CORRUPT, "certificate %s: no certificate in it", id);
	cert.key = span_sub(text, 0, (size_t)at);
	cert.chain = span_from(text, (size_t)at);
	if (shelf_staple_get(f->k->dir, id, ocsp, &none) == 0)
		cert.ocsp = strbuf_span(ocsp);
	ipc_enc_key_cert(&f->set, &cert);
	return f->set.failed ? err_set(&f->err, ERR_LIMIT, "too many certificates at once") : 0;
}

static void fetch_run(struct work *w)
{
	struct fetch *f = container_of(w, struct fetch, work);
	struct strbuf bundle, ocsp;

	shelf_buf_init(&bundle);
	strbuf_init(&ocsp, STAPLE_MAX);
	for (uint32_t i = 0; i < f->count; i++)
		if (add_cert(f, f->ids[i], &bundle, &ocsp) < 0)
			break;
	shelf_buf_clear(&bundle);
	strbuf_clear(&ocsp);
}

static void fetch_done(struct work *w)
{
	struct fetch *f = container_of(w, struct fetch, work);
	struct keyd *k = f->k;

	if (f->err.code != ERR_NONE)
		answer_error(k, &f->peer, f->id, &f->err);
	else
		ipc_reply(k->server, &f->peer, f->id, IPC_KEY_SET, strbuf_span(&f->set));
	keys_buf_clear(&f->set);
	mem_free(f);
	keyd_job_ended(k);
}

static void add_head(struct fetch *f, struct span purpose)
{
	unsigned char keys[TICKET_MASTERS][IPC_KEY_TICKET_LEN];
	struct ipc_key_set head = {.generation = f->k->generation,
	    .ticket_count = (uint32_t)f->k->master_count,
	    .count = f->count};

	for (size_t i = 0; i < f->k->master_count; i++) {
		ticket_derive(f->k->masters[i], purpose, keys[i]);
		head.tickets[i] = span_make(keys[i], sizeof(keys[i]));
	}
	ipc_enc_key_set(&f->set, &head);
	mem_wipe(keys, sizeof(keys));
}

static int fetch_start(
    struct keyd *k, const struct ipc_peer *peer, const struct ipc_msg *msg, struct err *err)
{
	struct ipc_key_fetch m;
	struct fetch *f;

	if (!ipc_dec_key_fetch(msg->body, &m) || m.count == 0 || m.purpose.n > PURPOSE_MAX)
		return err_set(err, ERR_INVALID, "malformed request");
	if (k->running >= FETCHES_MAX || k->role->is_draining)
		return err_set(err, ERR_TEMP, "too many requests at once");
	for (uint32_t i = 0; i < m.count; i++)
		if (!key_id_is_good(m.ids[i]))
			return err_set(err, ERR_INVALID, "\"%.*s\" is no certificate id",
			    m.ids[i].n < 64 ? (int)m.ids[i].n : 64, m.ids[i].p);
	f = mem_zalloc(sizeof(*f));
	f->k = k;
	f->peer = *peer;
	f->id = msg->id;
	f->count = m.count;
	for (uint32_t i = 0; i < m.count; i++)
		memcpy(f->ids[i], m.ids[i].p, m.ids[i].n);
	keys_buf_init(&f->set);
	add_head(f, m.purpose);
	f->work.run = fetch_run;
	f->work.done = fetch_done;
	k->running++;
	workers_submit(k->disk, &f->work);
	return 0;
}

/* --- watching --------------------------------------------------------------------------------- */
static void tell(struct keyd *k, const struct ipc_peer *peer, uint32_t id)
{
	struct strbuf b;

	strbuf_init(&b, 16);
	ipc_enc_generation(&b, k->generation);
	ipc_reply(k->server, peer, id, IPC_KEY_CHANGED, strbuf_span(&b));
	strbuf_clear(&b);
}

static void watcher_free(struct keyd *k, struct watcher *w)
{
	list_remove(&w->link);
	k->watcher_count--;
	mem_free(w);
}

static void forget_peer(struct keyd *k, const struct ipc_peer *peer, bool is_for_dkim)
{
	LIST_EACH_SAFE (it, &k->watchers) {
		struct watcher *w = container_of(it, struct watcher, link);

		if (w->peer.number == peer->number && w->is_for_dkim == is_for_dkim)
			watcher_free(k, w);
	}
}

/* Who asks anew does not wait for the old answer any more. */
static int watcher_add(
    struct keyd *k, const struct ipc_peer *peer, uint32_t id, bool is_for_dkim, struct err *err)
{
	struct watcher *w;

	if (k->watcher_count == WATCHERS_MAX)
		return err_set(err, ERR_TEMP, "too many requests at once");
	w = mem_zalloc(sizeof(*w));
	w->peer = *peer;
	w->id = id;
	w->is_for_dkim = is_for_dkim;
	list_append(&k->watchers, &w->link);
	k->watcher_count++;
	return 0;
}

static int watch_start(
    struct keyd *k, const struct ipc_peer *peer, const struct ipc_msg *msg, struct err *err)
{
	uint64_t generation;

	if (!ipc_dec_generation(msg->body, &generation))
		return err_set(err, ERR_INVALID, "malformed request");
	forget_peer(k, peer, false);
	if (generation == k->generation)
		return watcher_add(k, peer, msg->id, false, err);
	tell(k, peer, msg->id);
	return 0;
}

void keyd_changed(struct keyd *k)
{
	k->generation++;
	LIST_EACH_SAFE (it, &k->watchers) {
		struct watcher *w = container_of(it, struct watcher, link);

		if (w->is_for_dkim)
			continue;
		tell(k, &w->peer, w->id);
		watcher_free(k, w);
	}
}

/* --- signing keys ----------------------------------------------------------------------------- */
static void add_domain(struct fetch *f, const char *domain, struct strbuf *pem)
{
	struct err err = ERR_INIT;
	struct dkim_domain d;

	/* One that cannot be read does not keep the others from signing. */
	if (dkim_read(f->k->dir, domain, &d, &err) < 0) {
		log_error("dkim", LOG_STR("domain", domain), LOG_ERR(&err));
		return;
	}
	for (size_t i = 0; i < d.count; i++) {
		struct pki_bundle b = {.key = d.keys[i].key};

		strbuf_reset(pem);
		if (d.keys[i].state != DKIM_CURRENT || pki_key_pem(&b, pem, NULL) < 0)
			continue;
		ipc_enc_dkim_key(&f->set, &(struct ipc_dkim_key){.domain = span_of(domain),
					      .selector = span_of(d.keys[i].selector),
					      .key = strbuf_span(pem)});
	}
	dkim_clear(&d);
}

static void page_run(struct work *w)
{
	struct fetch *f = container_of(w, struct fetch, work);
	struct ipc_dkim_set head = {
	    .generation = f->generation, .is_first = f->after[0] == '\0', .is_last = true};
	struct strbuf names, pem;
	struct span rest, name;

	strbuf_init(&names, DKIM_LIST_MAX);
	shelf_buf_init(&pem);
	ipc_enc_dkim_set(&f->set, &head);
	if (dkim_list(f->k->dir, &names, &f->err) == 0) {
		rest = strbuf_span(&names);
		while (span_split(&rest, '\0', &name) && name.n > 0) {
			if (strcmp(name.p, f->after) <= 0)
				continue;
			if (f->set.n > IPC_DKIM_PAGE) {
				f->set.p[IPC_DKIM_LAST_AT] = 0;
				break;
			}
			add_domain(f, name.p, &pem);
		}
	}
	shelf_buf_clear(&pem);
	strbuf_clear(&names);
}

static void page_done(struct work *w)
{
	struct fetch *f = container_of(w, struct fetch, work);
	struct keyd *k = f->k;

	if (f->err.code != ERR_NONE)
		answer_error(k, &f->peer, f->id, &f->err);
	else
		ipc_reply(k->server, &f->peer, f->id, IPC_DKIM_SET, strbuf_span(&f->set));
	keys_buf_clear(&f->set);
	mem_free(f);
	keyd_job_ended(k);
}

static void page_start(struct keyd *k, const struct ipc_peer *peer, uint32_t id, struct span after)
{
	struct fetch *f = mem_zalloc(sizeof(*f));

	f->k = k;
	f->peer = *peer;
	f->id = id;
	f->generation = k->dkim_generation;
	memcpy(f->after, after.p, after.n);
	keys_buf_init(&f->set);
	f->work.run = page_run;
	f->work.done = page_done;
	k->running++;
	workers_submit(k->disk, &f->work);
}

static int dkim_start(
    struct keyd *k, const struct ipc_peer *peer, const struct ipc_msg *msg, struct err *err)
{
	struct ipc_dkim_fetch m;

	if (!ipc_dec_dkim_fetch(msg->body, &m) || m.after.n > DKIM_DOMAIN_MAX ||
	    (m.after.n > 0 && !dkim_domain_is_good(m.after)))
		return err_set(err, ERR_INVALID, "malformed request");
	forget_peer(k, peer, true);
	if (m.after.n == 0 && m.generation == k->dkim_generation)
		return watcher_add(k, peer, msg->id, true, err);
	if (k->running >= FETCHES_MAX || k->role->is_draining)
		return err_set(err, ERR_TEMP, "too many requests at once");
	page_start(k, peer, msg->id, m.after);
	return 0;
}

void keyd_dkim_changed(struct keyd *k)
{
	k->dkim_generation++;
	LIST_EACH_SAFE (it, &k->watchers) {
		struct watcher *w = container_of(it, struct watcher, link);

		if (!w->is_for_dkim)
			continue;
		page_start(k, &w->peer, w->id, span_make("", 0));
		watcher_free(k, w);
	}
}

/* --- the socket ------------------------------------------------------------------------------- */
/* Monitors run as root, or everything runs under one uid: nobody else is given a key. */
static bool is_monitor(const struct ipc_peer *peer)
{
	return peer->uid == 0 || peer->uid == geteuid();
}

static void on_message(void *arg, const struct ipc_peer *peer, const struct ipc_msg *msg)
{
	struct keyd *k = arg;
	struct err err = ERR_INIT;
	int result;

	if (!is_monitor(peer)) {
		log_warning("keys-denied", LOG_U64("uid", peer->uid), LOG_I64("pid", peer->pid));
		result = err_set(&err, ERR_DENIED, "only monitors may ask");
	} else if (msg->type == IPC_KEY_FETCH) {
		result = fetch_start(k, peer, msg, &err);
	} else if (msg->type == IPC_KEY_WATCH) {
		result = watch_start(k, peer, msg, &err);
	} else if (msg->type == IPC_DKIM_FETCH) {
		result = dkim_start(k, peer, msg, &err);
	} else {
		result = err_set(&err, ERR_INVALID, "no such request");
	}
	if (result < 0)
		answer_error(k, peer, msg->id, &err);
}

static void on_gone(void *arg, const struct ipc_peer *peer)
{
	forget_peer(arg, peer, false);
	forget_peer(arg, peer, true);
}

int serve_open(struct keyd *k, struct err *err)
{
	static const struct ipc_server_ops ops = {.on_message = on_message, .on_gone = on_gone};
	char path[CONFIG_PATH_MAX];

	if (config_run_path(k->role->cfg, RUN_KEYD_SOCK, path, err) < 0)
		return -1;
	k->server = ipc_server_new(k->loop, path, 0660, &ops, k, err);
	return k->server ? 0 : -1;
}

void serve_close(struct keyd *k)
{
	LIST_EACH_SAFE (it, &k->watchers)
		watcher_free(k, container_of(it, struct watcher, link));
	ipc_server_free(k->server);
	mem_wipe(k->masters, sizeof(k->masters));
}
