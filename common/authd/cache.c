#include "common/authd/cache.h"

#include "common/base/codec.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/crypto/crypto.h"

struct good {
	uint64_t until_ms;
	unsigned char mac[SHA256_LEN];
};

struct good_logins {
	struct hash *by_account;
	unsigned char key[32];
};

struct good_logins *good_logins_new(void)
{
	struct good_logins *g = mem_zalloc(sizeof(*g));

	g->by_account = hash_new();
	random_bytes(g->key, sizeof(g->key));
	return g;
}

static void free_one(struct span key, void *value, void *arg)
{
	mem_free_secret(value, sizeof(struct good));
}

void good_logins_free(struct good_logins *g)
{
	if (!g)
		return;
	hash_each(g->by_account, free_one, NULL);
	hash_free(g->by_account);
	mem_free_secret(g, sizeof(*g));
}

/* The password is hashed first, so that account and password are of fixed size under the key. */
static void make_mac(const struct good_logins *g, uint64_t account, struct span password,
    unsigned char out[SHA256_LEN])
{
	unsigned char text[8 + SHA256_LEN];

	be_put64(text, account);
	hmac_sha256(span_make(g->key, sizeof(g->key)), password, text + 8);
	hmac_sha256(span_make(g->key, sizeof(g->key)), span_make(text, sizeof(text)), out);
	mem_wipe(text, sizeof(text));
}

static struct span account_key(uint64_t account, unsigned char buf[8])
{
	be_put64(buf, account);
	return span_make(buf, 8);
}

void good_logins_put(struct good_logins *g, uint64_t account, struct span password, uint64_t now_ms,
    uint64_t keep_ms)
{
	unsigned char buf[8];
	struct good *one;

	good_logins_drop(g, account);
	if (keep_ms == 0)
		return;
	one = mem_zalloc(sizeof(*one));
	one->until_ms = now_ms + keep_ms;
	make_mac(g, account, password, one->mac);
	hash_set(g->by_account, account_key(account, buf), one);
}

bool good_logins_match(
    struct good_logins *g, uint64_t account, struct span password, uint64_t now_ms)
{
	unsigned char buf[8], mac[SHA256_LEN];
	struct good *one = hash_get(g->by_account, account_key(account, buf));
	bool ok;

	if (!one)
		return false;
	if (now_ms >= one->until_ms) {
		good_logins_drop(g, account);
		return false;
	}
	make_mac(g, account, password, mac);
	ok = mem_equal_secret(mac, one->mac, sizeof(mac));
	mem_wipe(mac, sizeof(mac));
	return ok;
}

void good_logins_drop(struct good_logins *g, uint64_t account)
{
	unsigned char buf[8];
	struct good *one = hash_remove(g->by_account, account_key(account, buf));

	if (one)
		mem_free_secret(one, sizeof(*one));
}

size_t good_logins_count(const struct good_logins *g)
{
	return hash_count(g->by_account);
}
