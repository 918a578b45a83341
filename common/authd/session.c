#include "common/authd/session.h"

#include "common/base/mem.h"
#include "common/crypto/crypto.h"
#include "common/event/clock.h"

#include <string.h>

/* How much of the last activity a crash may forget. */
#define TOUCH_SECONDS 300

struct session {
	struct list link; /* oldest login first */
	unsigned char hash[SHA256_LEN];
	struct session_row row;
	uint64_t stored; /* .seen on disk */
};

struct sessions {
	struct hash *by_hash;
	struct list all;
};

struct sessions *sessions_new(void)
{
	struct sessions *s = mem_zalloc(sizeof(*s));

	s->by_hash = hash_new();
	list_init(&s->all);
	return s;
}

static void drop(struct sessions *s, struct session *one)
{
	hash_remove(s->by_hash, span_make(one->hash, sizeof(one->hash)));
	list_remove(&one->link);
	mem_free(one);
}

void sessions_free(struct sessions *s)
{
	if (!s)
		return;
	LIST_EACH_SAFE (it, &s->all)
		drop(s, container_of(it, struct session, link));
	hash_free(s->by_hash);
	mem_free(s);
}

static void insert(struct sessions *s, struct session *one)
{
	struct list *at = &s->all;

	while (at->prev != &s->all &&
	       container_of(at->prev, struct session, link)->row.created > one->row.created)
		at = at->prev;
	list_add_before(at, &one->link);
	hash_set(s->by_hash, span_make(one->hash, sizeof(one->hash)), one);
}

int sessions_apply(struct sessions *s, struct span token_hash, struct span row, struct err *err)
{
	struct session *one = hash_get(s->by_hash, token_hash);
	struct session_row r;

	if (!row.p) {
		if (one)
			drop(s, one);
		return 0;
	}
	if (token_hash.n != SHA256_LEN || !row_dec_session(row, &r))
		return err_set(err, ERR_CORRUPT, "accounts: a session's row does not decode");
	if (one) {
		one->stored = r.seen;
		return 0;
	}
	one = mem_zalloc(sizeof(*one));
	memcpy(one->hash, token_hash.p, SHA256_LEN);
	one->row = r;
	one->stored = r.seen;
	insert(s, one);
	return 0;
}

static void put_row(struct change *c, struct span hash, const struct session_row *r, bool is_new)
{
	struct strbuf row;
	struct db_key key;

	strbuf_init(&row, 64);
	row_enc_session(&row, r);
	row_key_text(&key, ROW_SESSION, hash);
	if (is_new)
		change_put(c, &key, &row);
	else
		change_update(c, &key, &row); /* a session that ended meanwhile stays ended */
}

static void del_row(struct change *c, const struct session *one)
{
	struct db_key key;

	row_key_text(&key, ROW_SESSION, span_make(one->hash, sizeof(one->hash)));
	change_del(c, &key);
}

/* The oldest ones make room. */
static void make_room(struct sessions *s, struct change *c, uint64_t account)
{
	size_t total = hash_count(s->by_hash);
	size_t own = 0;

	LIST_EACH (it, &s->all)
		own += container_of(it, struct session, link)->row.account == account;
	LIST_EACH (it, &s->all) {
		struct session *one = container_of(it, struct session, link);
		bool is_own = one->row.account == account;

		if (total < SESSIONS_MAX && own < SESSIONS_PER_ACCOUNT)
			return;
		if (total < SESSIONS_MAX && !is_own)
			continue;
		del_row(c, one);
		total--;
		own -= is_own;
	}
}

void session_create(
    struct authd *a, struct change *c, uint64_t account, char token[SESSION_TOKEN_LEN + 1])
{
	uint64_t now = (uint64_t)clock_now();
	struct session_row r = {account, now, now};
	unsigned char hash[SHA256_LEN];

	make_room(a->sessions, c, account);
	random_hex(token, SESSION_TOKEN_LEN / 2);
	sha256_once(span_make(token, SESSION_TOKEN_LEN), hash);
	put_row(c, span_make(hash, sizeof(hash)), &r, true);
}

static bool is_live(const struct session *one, uint64_t now)
{
	/* A clock that was set back must not make a session live longer. */
	return now + TOUCH_SECONDS >= one->row.created &&
	       now < one->row.created + SESSION_SECONDS && now < one->row.seen + SESSION_IDLE;
}

static struct session *find(struct sessions *s, struct span token)
{
	unsigned char hash[SHA256_LEN];

	if (token.n != SESSION_TOKEN_LEN)
		return NULL;
	sha256_once(token, hash);
	return hash_get(s->by_hash, span_make(hash, sizeof(hash)));
}

uint64_t session_find(struct authd *a, struct span token)
{
	struct session *one = find(a->sessions, token);
	uint64_t now = (uint64_t)clock_now();
	struct change *c;

	if (!one || !is_live(one, now))
		return 0;
	one->row.seen = now;
	if (now >= one->stored + TOUCH_SECONDS) {
		c = change_new(a);
		put_row(c, span_make(one->hash, sizeof(one->hash)), &one->row, false);
		change_commit_lazy(c);
	}
	return one->row.account;
}

bool session_is_fresh(struct authd *a, struct span token)
{
	struct session *one = find(a->sessions, token);
	uint64_t now = (uint64_t)clock_now();

	return one && is_live(one, now) && now < one->row.created + SESSION_FRESH;
}

void session_remove(struct sessions *s, struct change *c, struct span token)
{
	struct session *one = find(s, token);

	if (one)
		del_row(c, one);
}

void session_remove_account(struct sessions *s, struct change *c, uint64_t account)
{
	LIST_EACH (it, &s->all) {
		struct session *one = container_of(it, struct session, link);

		if (one->row.account == account)
			del_row(c, one);
	}
}

void session_sweep(struct authd *a)
{
	uint64_t now = (uint64_t)clock_now();
	struct change *c = NULL;

	LIST_EACH (it, &a->sessions->all) {
		struct session *one = container_of(it, struct session, link);

		if (is_live(one, now))
			continue;
		if (!c)
			c = change_new(a);
		del_row(c, one);
	}
	if (c)
		change_commit_lazy(c);
}

size_t session_count(const struct sessions *s)
{
	return hash_count(s->by_hash);
}
