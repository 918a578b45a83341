#include "common/keyd/dkim.h"

#include "common/base/base64.h"
#include "common/base/mem.h"
#include "common/daemon/file.h"
#include "common/keyd/pki.h"
#include "common/keyd/shelf.h"

#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HEAD "mailstead-dkim 1"
#define ENDING ".pem"
#define PEM_END "-----END PRIVATE KEY-----\n"
#define TIME_MAX ((uint64_t)1 << 40)

static const char *const state_names[] = {"next", "current", "old"};

const char *dkim_state_name(enum dkim_state s)
{
	return state_names[s];
}

bool dkim_domain_is_good(struct span domain)
{
	if (domain.n == 0 || domain.n > DKIM_DOMAIN_MAX - sizeof(ENDING) || domain.p[0] == '.')
		return false;
	for (size_t i = 0; i < domain.n; i++)
		if (!(domain.p[i] >= 'a' && domain.p[i] <= 'z') && !ascii_is_digit(domain.p[i]) &&
		    domain.p[i] != '-' && domain.p[i] != '.')
			return false;
	return true;
}

void dkim_clear(struct dkim_domain *d)
{
	for (size_t i = 0; i < d->count; i++)
		EVP_PKEY_free(d->keys[i].key);
	*d = (struct dkim_domain){0};
}

/* --- the file --------------------------------------------------------------------------------- */
static int open_folder(const char *dir, struct err *err)
{
	char path[512];
	int n = snprintf(path, sizeof(path), "%s/" DKIM_FOLDER, dir);

	if (n < 0 || n >= (int)sizeof(path))
		return err_set(err, ERR_INVALID, "%.60s...: path too long", dir);
	return file_open_folder(path, err);
}

int dkim_open(const char *dir, struct err *err)
{
	int top = file_open_folder(dir, err);
	int result = 0;

	if (top < 0)
		return -1;
	if ((mkdirat(top, DKIM_FOLDER, 0700) < 0 && errno != EEXIST) || fsync(top) < 0)
		result = err_errno(err, errno, "%s/" DKIM_FOLDER, dir);
	close(top);
	return result;
}

static void file_name(char out[DKIM_DOMAIN_MAX + 8], const char *domain)
{
	snprintf(out, DKIM_DOMAIN_MAX + 8, "%s" ENDING, domain);
}

/* "key SELECTOR STATE MADE UNTIL", then the key in PEM. Takes it off text. */
static bool parse_key(struct span *text, struct dkim_key *k)
{
	struct span line, word, selector, state, made, until;
	ssize_t end;
	uint64_t m, u;
	BIO *bio;

	if (!span_split(text, '\n', &line) || !span_split(&line, ' ', &word) ||
	    !span_eq(word, SPAN("key")) || !span_split(&line, ' ', &selector) ||
	    !span_split(&line, ' ', &state) || !span_split(&line, ' ', &made) ||
	    !span_split(&line, ' ', &until) || line.p || !span_u64(made, TIME_MAX, &m) ||
	    !span_u64(until, TIME_MAX, &u) || selector.n == 0 || selector.n > DKIM_SELECTOR_MAX)
		return false;
	memcpy(k->selector, selector.p, selector.n);
	k->made = (int64_t)m;
	k->until = (int64_t)u;
	for (k->state = DKIM_NEXT; !span_eq(state, span_of(state_names[k->state])); k->state++)
		if (k->state == DKIM_OLD)
			return false;
	end = text->p ? span_find(*text, SPAN(PEM_END)) : -1;
	if (end < 0)
		return false;
	end += (ssize_t)sizeof(PEM_END) - 1;
	bio = BIO_new_mem_buf(text->p, (int)end);
	k->key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
	BIO_free(bio);
	ERR_clear_error();
	*text = span_from(*text, (size_t)end);
	return k->key != NULL;
}

static int parse(struct span text, struct dkim_domain *d, struct err *err)
{
	struct span line;

	if (!span_split(&text, '\n', &line) || !span_eq(line, SPAN(HEAD)))
		return err_set(err, ERR_CORRUPT, "line 1: expected \"" HEAD "\"");
	while (text.n > 0) {
		struct dkim_key *k = &d->keys[d->count];

		if (d->count == DKIM_KEYS_MAX)
			return err_set(err, ERR_CORRUPT, "more than %d keys", DKIM_KEYS_MAX);
		if (!parse_key(&text, k))
			return err_set(err, ERR_CORRUPT, "key %zu is damaged", d->count + 1);
		d->count++;
	}
	return 0;
}

/* The folder, and a domain's file in it. */
static int open_for(
    const char *dir, const char *domain, char name[DKIM_DOMAIN_MAX + 8], struct err *err)
{
	if (!dkim_domain_is_good(span_of(domain)))
		return err_set(err, ERR_INVALID, "\"%.80s\" is no domain name", domain);
	file_name(name, domain);
	return open_folder(dir, err);
}

int dkim_read(const char *dir, const char *domain, struct dkim_domain *d, struct err *err)
{
	char name[DKIM_DOMAIN_MAX + 8];
	struct err why = ERR_INIT;
	struct strbuf text;
	int result = -1;
	int fd;

	*d = (struct dkim_domain){0};
	fd = open_for(dir, domain, name, err);
	if (fd < 0)
		return -1;
	shelf_buf_init(&text);
	if (file_read(fd, name, &text, &why) == 0)
		result = parse(strbuf_span(&text), d, &why);
	shelf_buf_clear(&text);
	close(fd);
	if (result == 0)
		return 0;
	dkim_clear(d);
	if (why.code == ERR_NOT_FOUND)
		return err_set(err, ERR_NOT_FOUND, "%s has no signing keys", domain);
	return err_set(err, why.code, "signing keys of %s: %s", domain, why.text);
}

static int add_key(struct strbuf *out, const struct dkim_key *k, struct err *err)
{
	struct pki_bundle b = {.key = k->key};

	strbuf_addf(out, "key %s %s %lld %lld\n", k->selector, state_names[k->state],
	    (long long)k->made, (long long)k->until);
	return pki_key_pem(&b, out, err);
}

int dkim_write(
    const char *dir, const char *domain, struct dkim_domain *d, int64_t now, struct err *err)
{
	char name[DKIM_DOMAIN_MAX + 8];
	struct strbuf text;
	int result = 0;
	int fd;

	fd = open_for(dir, domain, name, err);
	if (fd < 0)
		return -1;
	shelf_buf_init(&text);
	strbuf_add_str(&text, HEAD "\n");
	for (size_t i = 0; result == 0 && i < d->count; i++)
		if (d->keys[i].state != DKIM_OLD || d->keys[i].until > now)
			result = add_key(&text, &d->keys[i], err);
	if (result == 0)
		result = file_write(fd, name, 0600, strbuf_span(&text), err);
	shelf_buf_clear(&text);
	close(fd);
	return result;
}

int dkim_remove(const char *dir, const char *domain, struct err *err)
{
	char name[DKIM_DOMAIN_MAX + 8];
	int result = 0;
	int fd;

	fd = open_for(dir, domain, name, err);
	if (fd < 0)
		return -1;
	if ((unlinkat(fd, name, 0) < 0 && errno != ENOENT) || fsync(fd) < 0)
		result = err_errno(err, errno, "%s", name);
	close(fd);
	return result;
}

/* --- all of them ------------------------------------------------------------------------------ */
static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void names_free(char **names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		mem_free(names[i]);
	mem_free(names);
}

static char **read_names(DIR *d, size_t *n)
{
	char **names = NULL;
	size_t cap = 0;
	struct dirent *e;

	*n = 0;
	while ((e = readdir(d))) {
		struct span name = span_of(e->d_name);

		if (!span_ends(name, SPAN(ENDING)))
			continue;
		name.n -= sizeof(ENDING) - 1;
		if (!dkim_domain_is_good(name))
			continue;
		if (*n == cap) {
			cap = cap ? 2 * cap : 64;
			names = mem_grow(names, cap, sizeof(*names));
		}
		names[(*n)++] = mem_strndup(name.p, name.n);
	}
	return names;
}

int dkim_list(const char *dir, struct strbuf *out, struct err *err)
{
	int fd = open_folder(dir, err);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	char **names;
	size_t n;

	if (!d) {
		if (fd >= 0) {
			err_errno(err, errno, "%s", dir);
			close(fd);
		}
		return -1;
	}
	names = read_names(d, &n);
	closedir(d);
	if (n > 0)
		qsort(names, n, sizeof(*names), by_name);
	for (size_t i = 0; i < n; i++)
		strbuf_add_mem(out, names[i], strlen(names[i]) + 1);
	names_free(names, n);
	return out->failed ? err_set(err, ERR_LIMIT, "too many domains") : 0;
}

/* --- pairs ------------------------------------------------------------------------------------ */
bool dkim_has(const struct dkim_domain *d, enum dkim_state state)
{
	for (size_t i = 0; i < d->count; i++)
		if (d->keys[i].state == state)
			return true;
	return false;
}

static void drop_at(struct dkim_domain *d, size_t i)
{
	EVP_PKEY_free(d->keys[i].key);
	d->count--;
	memmove(&d->keys[i], &d->keys[i + 1], (d->count - i) * sizeof(*d->keys));
	d->keys[d->count] = (struct dkim_key){0};
}

size_t dkim_drop(struct dkim_domain *d, enum dkim_state state)
{
	size_t before = d->count;

	for (size_t i = d->count; i-- > 0;)
		if (d->keys[i].state == state)
			drop_at(d, i);
	return before - d->count;
}

/* Room for a pair: the oldest that sign no more go. */
static void make_room(struct dkim_domain *d)
{
	while (d->count + 2 > DKIM_KEYS_MAX) {
		size_t oldest = d->count;

		for (size_t i = 0; i < d->count; i++)
			if (d->keys[i].state == DKIM_OLD &&
			    (oldest == d->count || d->keys[i].until < d->keys[oldest].until))
				oldest = i;
		if (oldest == d->count)
			return;
		drop_at(d, oldest);
	}
}

static bool has_selector(const struct dkim_domain *d, const char *selector)
{
	for (size_t i = 0; i < d->count; i++)
		if (strcmp(d->keys[i].selector, selector) == 0)
			return true;
	return false;
}

/* "ms202611r"; "ms202611-2r" if that month has one already. */
static void choose_selector(
    const struct dkim_domain *d, int64_t now, char ending, char out[DKIM_SELECTOR_MAX + 1])
{
	time_t t = (time_t)now;
	struct tm tm = {0};
	unsigned year, month;

	gmtime_r(&t, &tm);
	year = (unsigned)(tm.tm_year + 1900) % 10000;
	month = (unsigned)(tm.tm_mon + 1) % 100;
	snprintf(out, DKIM_SELECTOR_MAX + 1, "ms%04u%02u%c", year, month, ending);
	for (unsigned i = 2; has_selector(d, out); i++)
		snprintf(out, DKIM_SELECTOR_MAX + 1, "ms%04u%02u-%u%c", year, month, i, ending);
}

int dkim_add_pair(struct dkim_domain *d, enum dkim_state state, int64_t now, struct err *err)
{
	static const struct {
		const char *kind;
		char ending;
	} pair[] = {{"rsa2048", 'r'}, {"ed25519", 'e'}};

	make_room(d);
	if (d->count + 2 > DKIM_KEYS_MAX)
		return err_set(err, ERR_LIMIT, "a domain has at most %d keys", DKIM_KEYS_MAX);
	for (size_t i = 0; i < ARRAY_LEN(pair); i++) {
		struct dkim_key k = {.state = state, .made = now};

		choose_selector(d, now, pair[i].ending, k.selector);
		k.key = pki_key_new(span_of(pair[i].kind), err);
		if (!k.key)
			return -1;
		d->keys[d->count++] = k;
	}
	return 0;
}

int dkim_activate(struct dkim_domain *d, int64_t now, struct err *err)
{
	if (!dkim_has(d, DKIM_NEXT))
		return err_set(err, ERR_NOT_FOUND, "no new key waits: dkim rotate makes one");
	for (size_t i = 0; i < d->count; i++) {
		struct dkim_key *k = &d->keys[i];

		if (k->state == DKIM_CURRENT) {
			k->state = DKIM_OLD;
			k->until = now + DKIM_OLD_SECONDS;
		} else if (k->state == DKIM_NEXT) {
			k->state = DKIM_CURRENT;
		}
	}
	return 0;
}

/* --- what is published ------------------------------------------------------------------------ */
bool dkim_is_rsa(const struct dkim_key *k)
{
	return EVP_PKEY_base_id(k->key) == EVP_PKEY_RSA;
}

int dkim_record(const struct dkim_key *k, struct strbuf *out, struct err *err)
{
	unsigned char raw[32];
	unsigned char *der = NULL;
	size_t n = sizeof(raw);
	int length;

	if (!dkim_is_rsa(k)) {
		if (EVP_PKEY_get_raw_public_key(k->key, raw, &n) != 1)
			return pki_fail(err, ERR_CORRUPT, "a signing key");
		strbuf_add_str(out, "v=DKIM1; k=ed25519; p=");
		base64_encode(out, span_make(raw, n));
		return 0;
	}
	length = i2d_PUBKEY(k->key, &der);
	if (length <= 0)
		return pki_fail(err, ERR_CORRUPT, "a signing key");
	strbuf_add_str(out, "v=DKIM1; k=rsa; p=");
	base64_encode(out, span_make(der, (size_t)length));
	OPENSSL_free(der);
	return 0;
}
