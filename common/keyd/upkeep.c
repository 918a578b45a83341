#include "common/keyd/keyd.h"

#include "common/base/mem.h"
#include "common/keyd/pki.h"
#include "common/keyd/shelf.h"
#include "common/log/log.h"

#include <string.h>

#define SELF_SIGNED_DAYS 820 /* below the 825 that Apple admits */
#define RENEW_SECONDS (30 * 86400)

static bool lists(const struct config_listener *l, const char *id)
{
	struct span list = span_of(l->certificates);
	struct span word;

	while (l->tls != TLS_NONE && config_list_next(&list, &word))
		if (span_eq(word, span_of(id)))
			return true;
	return false;
}

size_t listeners_of(const struct config *cfg, const char *id)
{
	size_t n = 0;

	for (size_t i = 0; i < config_listener_count(cfg); i++)
		n += lists(config_listener(cfg, i), id);
	return n;
}

static void add_host(const char *list[HOSTS_MAX], size_t *n, const char *host)
{
	for (size_t i = 0; i < *n; i++)
		if (span_ieq(span_of(list[i]), span_of(host)))
			return;
	if (*n < HOSTS_MAX)
		list[(*n)++] = host;
}

size_t hosts_of(const struct config *cfg, const char *id, const char *list[HOSTS_MAX])
{
	bool is_used = listeners_of(cfg, id) > 0;
	size_t n = 0;

	if (!is_used || strcmp(config_str(cfg, SET_WEB_CERTIFICATE), id) == 0)
		add_host(list, &n, config_str(cfg, SET_SERVER_HOSTNAME));
	for (size_t i = 0; i < config_listener_count(cfg); i++) {
		const struct config_listener *l = config_listener(cfg, i);

		if (l->tls != TLS_NONE && (!is_used || lists(l, id)))
			add_host(list, &n, l->hostname);
	}
	return n;
}

/* --- what keyd signed itself ------------------------------------------------------------------ */
static int make_self_signed(const char *dir, const char *id, const char *const *hosts, size_t n,
    int64_t now, struct err *err)
{
	/* For whoever tries it out on the machine itself. */
	static const char *const own[] = {"localhost", "127.0.0.1", "::1"};
	struct pki_subject subject = {0};
	struct pki_bundle bundle = {0};
	EVP_PKEY *key = pki_key_new(SPAN("ecdsa"), err);
	struct strbuf text;
	int result = -1;

	shelf_buf_init(&text);
	for (size_t i = 0; i < n; i++)
		subject.names[subject.name_count++] = span_of(hosts[i]);
	for (size_t i = 0; n > 0 && strcmp(id, KEYD_DEFAULT_ID) == 0 && i < ARRAY_LEN(own); i++)
		if (strcmp(hosts[0], own[i]) != 0)
			subject.names[subject.name_count++] = span_of(own[i]);
	/* A common name has at most 64 characters; nobody looks at it any more. */
	if (subject.names[0].n <= 64)
		subject.cn = subject.names[0];
	if (key && pki_self_sign(key, &subject, SELF_SIGNED_DAYS, now, &bundle, err) == 0 &&
	    pki_bundle_write(&bundle, &text, err) == 0 &&
	    shelf_put(dir, id, SLOT_CANDIDATE, ORIGIN_SELF, strbuf_span(&text), err) == 0 &&
	    shelf_install(dir, id, false, err) == 0)
		result = 0;
	shelf_buf_clear(&text);
	pki_bundle_clear(&bundle);
	EVP_PKEY_free(key);
	if (result == 0)
		log_info("self-signed", LOG_STR("certificate", id), LOG_STR("name", hosts[0]));
	return result;
}

/* Only "default" follows the host names: others were made for the names that somebody gave. */
static bool is_stale(
    const char *id, const struct pki_bundle *b, const char *const *hosts, size_t n, int64_t now)
{
	struct pki_names names;
	bool result = pki_time(X509_get0_notAfter(b->chain[0])) < now + RENEW_SECONDS;

	if (strcmp(id, KEYD_DEFAULT_ID) != 0)
		return result;
	pki_names_of(b->chain[0], &names);
	for (size_t i = 0; i < n; i++)
		result = result || !pki_names_match(&names, span_of(hosts[i]));
	pki_names_clear(&names);
	return result;
}

struct upkeep {
	const char *dir;
	const struct config *cfg;
	int64_t now;
	size_t made;
	bool has_default;
	struct err err; /* the last */
};

/* The names of a certificate that is made anew for the names it had. */
static int renew(struct upkeep *u, const char *id, const struct pki_bundle *b)
{
	const char *hosts[HOSTS_MAX];
	size_t n = hosts_of(u->cfg, id, hosts);
	struct pki_names names = {0};
	int result;

	if (strcmp(id, KEYD_DEFAULT_ID) != 0) {
		pki_names_of(b->chain[0], &names);
		for (n = 0; n < names.count && n < HOSTS_MAX; n++)
			hosts[n] = names.list[n];
	}
	result = n > 0 ? make_self_signed(u->dir, id, hosts, n, u->now, &u->err) : -1;
	pki_names_clear(&names);
	return result;
}

static void keep_up(void *arg, const char *id)
{
	struct upkeep *u = arg;
	const char *hosts[HOSTS_MAX];
	struct pki_bundle b = {0};
	struct shelf_index ix;
	struct strbuf text;

	shelf_buf_init(&text);
	if (strcmp(id, KEYD_DEFAULT_ID) == 0)
		u->has_default = true;
	if (shelf_index_get(u->dir, id, &ix, &u->err) < 0 || ix.number[SLOT_CURRENT] == 0 ||
	    ix.origin[SLOT_CURRENT] != ORIGIN_SELF)
		goto out;
	if (shelf_read(u->dir, id, SLOT_CURRENT, &text, &u->err) < 0 ||
	    pki_bundle_read(strbuf_span(&text), &b, &u->err) < 0 || b.count == 0)
		goto out;
	if (is_stale(id, &b, hosts, hosts_of(u->cfg, id, hosts), u->now) && renew(u, id, &b) == 0)
		u->made++;
out:
	pki_bundle_clear(&b);
	shelf_buf_clear(&text);
}

int upkeep_run(
    const char *dir, const struct config *cfg, int64_t now, size_t *count, struct err *err)
{
	struct upkeep u = {.dir = dir, .cfg = cfg, .now = now};
	const char *hosts[HOSTS_MAX];

	*count = 0;
	if (shelf_each(dir, keep_up, &u, err) < 0)
		return -1;
	/* One that cannot be read does not keep the others from being served. */
	if (u.err.code != ERR_NONE)
		log_error("upkeep", LOG_ERR(&u.err));
	if (!u.has_default) {
		size_t n = hosts_of(cfg, KEYD_DEFAULT_ID, hosts);

		if (make_self_signed(dir, KEYD_DEFAULT_ID, hosts, n, now, err) < 0)
			return -1;
		u.made++;
	}
	*count = u.made;
	return 0;
}
