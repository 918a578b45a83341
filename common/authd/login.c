/*
 * "Is this password right?" A login is let through by the throttle, tried against app passwords and
 * remembered good logins (microseconds), and otherwise waits for a password hash. Whether the name
 * exists changes neither the answer nor the work: unknown names are verified against a dummy.
 */
#include "common/authd/login.h"

#include "common/authd/totp.h"
#include "common/base/mem.h"
#include "common/crypto/crypto.h"
#include "common/event/clock.h"
#include "common/log/log.h"

#include <string.h>

#define USER_MAX 320
#define WORD_MAX 64
#define KNOWN_RENEW_SECONDS 86400
#define APP_USED_SECONDS 3600

static const char text_throttled[] = "too many failed logins, try again later";
static const char text_busy[] = "too many logins at the moment, try again later";
static const char text_not_here[] = "this account may not use this service";

struct login {
	struct hash_job job;
	struct authd *a;
	struct throttle_who who;
	bool is_counted; /* throttle_begin was called */
	char user[USER_MAX + 1];
	unsigned char net[NET_KEY_MAX];
	char protocol[WORD_MAX + 1], listener[WORD_MAX + 1], client[WORD_MAX + 1];
	uint64_t account; /* 0: unknown */
	uint32_t generation;
	enum ipc_login_status verdict; /* of one that ends without a hash */
	bool is_app;
	uint32_t app_protocols;
	void (*on_answer)(void *arg, const struct login_answer *answer);
	void *arg;
};

static uint64_t now_s(void)
{
	return clock_mono_ms() / 1000;
}

uint32_t protocol_bit(struct span name)
{
	static const struct {
		struct span name;
		uint32_t bit;
	} all[] = {
	    {SPAN_INIT("smtp"), PROTO_SMTP},
	    {SPAN_INIT("imap"), PROTO_IMAP},
	    {SPAN_INIT("pop3"), PROTO_POP3},
	    {SPAN_INIT("web"), PROTO_WEB},
	};

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (span_eq(name, all[i].name))
			return all[i].bit;
	return 0;
}

static void copy_word(char out[WORD_MAX + 1], struct span in)
{
	size_t n = in.n < WORD_MAX ? in.n : WORD_MAX;

	if (n > 0)
		memcpy(out, in.p, n);
	out[n] = '\0';
}

/* Who an attempt is counted for. The network of an unreadable address is its text. */
struct span login_network(struct span client, unsigned char buf[NET_KEY_MAX])
{
	struct net_addr addr;
	size_t n = client.n < NET_KEY_MAX ? client.n : NET_KEY_MAX;

	if (net_addr_parse(&addr, client, 0, NULL) == 0)
		net_addr_prefix(&addr, 24, 48, buf, &n);
	else if (n > 0)
		memcpy(buf, client.p, n);
	return span_make(buf, n);
}

static struct throttle_limits limits_of(const struct authd *a)
{
	return (struct throttle_limits){
	    .per_network = config_u64(a->cfg, SET_AUTH_FAILURES_ADDRESS),
	    .per_account = config_u64(a->cfg, SET_AUTH_FAILURES_ACCOUNT),
	};
}

static struct throttle_who who_of(
    struct span client, const struct account *acc, unsigned char buf[NET_KEY_MAX])
{
	struct span net = login_network(client, buf);

	return (struct throttle_who){.network = net,
	    .account = acc->row.address,
	    .is_known = account_is_known(acc, net, (uint64_t)clock_now())};
}

void login_count_failure(struct authd *a, struct span client, const struct account *acc)
{
	unsigned char buf[NET_KEY_MAX];
	struct throttle_who who = who_of(client, acc, buf);

	throttle_begin(a->throttle, &who, now_s());
	throttle_end(a->throttle, &who, true, now_s());
	log_info("auth-second-factor", LOG_STR("result", "failed"), LOG_SPAN("client", client),
	    LOG_U64("account", acc->number));
}

bool login_may_try(struct authd *a, struct span client, const struct account *acc)
{
	unsigned char buf[NET_KEY_MAX];
	struct throttle_who who = who_of(client, acc, buf);
	struct throttle_limits limits = limits_of(a);

	return throttle_ask(a->throttle, &who, &limits, now_s()) != THROTTLE_STOP;
}

static struct account *live_account(const struct authd *a, uint64_t number)
{
	struct account *acc = number ? index_number(&a->index, number) : NULL;

	return acc && !account_is_deleting(acc) ? acc : NULL;
}

/* --- the end of a login ----------------------------------------------------------------------- */
static void login_free(struct login *l)
{
	mem_free(l);
}

static const char *status_word(enum ipc_login_status status)
{
	switch (status) {
	case LOGIN_OK:
		return "good";
	case LOGIN_FAILED:
		return "failed";
	case LOGIN_THROTTLED:
		return "throttled";
	case LOGIN_NOT_HERE:
		return "not-here";
	default:
		return "temporary";
	}
}

static void count(struct authd_counts *c, enum ipc_login_status status)
{
	if (status == LOGIN_OK || status == LOGIN_NOT_HERE)
		c->good++;
	else if (status == LOGIN_FAILED)
		c->failed++;
	else if (status == LOGIN_THROTTLED)
		c->throttled++;
	else
		c->temporary++;
}

static void answer(
    struct login *l, enum ipc_login_status status, struct account *acc, const char *text)
{
	struct login_answer out = {status, acc, text};

	if (l->is_counted)
		throttle_end(l->a->throttle, &l->who, status == LOGIN_FAILED, now_s());
	l->is_counted = false;
	count(&l->a->counts, status);
	log_info("auth-login", LOG_STR("result", status_word(status)),
	    LOG_STR("protocol", l->protocol), LOG_STR("listener", l->listener),
	    LOG_STR("client", l->client), LOG_STR("user", l->user),
	    LOG_U64("account", acc ? acc->number : 0));
	l->on_answer(l->arg, &out);
	login_free(l);
}

/* --- what a good login leaves behind -----------------------------------------------------------
 */
static void put_time(struct change *c, const struct db_key *key, uint64_t time)
{
	struct strbuf row;

	strbuf_init(&row, 16);
	row_enc_u64(&row, time);
	change_put(c, key, &row);
}

/* The networks an account is known in: the newest KNOWN_MAX of the last 30 days. */
static void remember_network(struct authd *a, struct span network, const struct account *acc)
{
	uint64_t now = (uint64_t)clock_now();
	struct change *c;
	struct db_key key;
	size_t left = acc->known_count;

	LIST_EACH (it, &acc->known) {
		const struct known *k = container_of(it, struct known, link);

		if (span_eq(network, span_make(k->net, k->n)) &&
		    k->time + KNOWN_RENEW_SECONDS > now)
			return;
	}
	c = change_new(a);
	for (struct list *it = acc->known.prev; it != &acc->known; it = it->prev, left--) {
		const struct known *k = container_of(it, struct known, link);

		if (left < KNOWN_MAX && k->time + KNOWN_SECONDS > now)
			break;
		row_key_known(&key, acc->number, span_make(k->net, k->n));
		change_del(c, &key);
	}
	row_key_known(&key, acc->number, network);
	put_time(c, &key, now);
	change_commit_lazy(c);
}

void login_remember(struct authd *a, struct span client, const struct account *acc)
{
	unsigned char buf[NET_KEY_MAX];

	remember_network(a, login_network(client, buf), acc);
}

static void remember_app(struct authd *a, struct account *acc, struct app *app)
{
	uint64_t now = (uint64_t)clock_now();
	struct change *c;
	struct db_key key;

	if (app->used + APP_USED_SECONDS > now)
		return;
	c = change_new(a);
	row_key_app(&key, ROW_APP_USED, acc->number, app->id);
	put_time(c, &key, now);
	change_commit_lazy(c);
}

/* The password was right: may the account do this? */
static void let_in(struct login *l, struct account *acc)
{
	uint32_t bit = protocol_bit(span_of(l->protocol));
	uint32_t allowed = acc->row.protocols;

	if (acc->row.flags & USER_DISABLED) {
		answer(l, LOGIN_FAILED, NULL, "");
		return;
	}
	if (l->is_app)
		allowed &= l->app_protocols & PROTO_MAIL;
	if (!account_is_mailbox(acc))
		allowed &= PROTO_WEB;
	if (acc->row.flags & USER_RECEIVE_ONLY)
		allowed &= ~(uint32_t)PROTO_SMTP;
	if ((allowed & bit) == 0) {
		answer(l, LOGIN_NOT_HERE, acc, text_not_here);
		return;
	}
	/* Where there is a second factor, a password alone does not make a network known: it would
	 * take the account's limit from whoever guesses the codes. */
	if (l->is_app || !totp_is_on(acc))
		remember_network(l->a, l->who.network, acc);
	answer(l, LOGIN_OK, acc, "");
}

/* --- without argon2 ----------------------------------------------------------------------------
 */
void app_password_hash(struct span salt, struct span password, unsigned char out[APP_HASH_LEN])
{
	/* App passwords are 120 random bits: nothing to guess, so no slow hash. */
	hmac_sha256(salt, password, out);
}

static struct app *find_app(const struct account *acc, struct span password)
{
	struct app *found = NULL;

	LIST_EACH (it, &acc->apps) {
		struct app *app = container_of(it, struct app, link);
		unsigned char hash[APP_HASH_LEN];

		app_password_hash(app->row.salt, password, hash);
		if (mem_equal_secret(hash, app->row.hash.p, APP_HASH_LEN))
			found = app;
	}
	return found;
}

/* An app password, or what was right a moment ago. Only between throttle_begin and throttle_end:
 * this too is a guess. */
static bool is_quickly_right(struct login *l, struct span password)
{
	struct account *acc = live_account(l->a, l->account);
	struct app *app;

	if (!acc)
		return false;
	app = find_app(acc, password);
	if (app) {
		l->is_app = true;
		l->app_protocols = app->row.protocols;
		remember_app(l->a, acc, app);
		return true;
	}
	/* Switched off, it also forgets what it knew before. */
	return config_u64(l->a->cfg, SET_AUTH_CACHE_SECONDS) > 0 &&
	       good_logins_match(l->a->good, acc->number, password, clock_mono_ms());
}

static enum throttle_answer ask_throttle(struct login *l)
{
	struct throttle_limits limits = limits_of(l->a);
	enum throttle_answer may = throttle_ask(l->a->throttle, &l->who, &limits, now_s());

	if (may == THROTTLE_GO) {
		throttle_begin(l->a->throttle, &l->who, now_s());
		l->is_counted = true;
	}
	return may;
}

/* --- with argon2 -------------------------------------------------------------------------------
 */
struct rehash {
	struct hash_job job;
	struct authd *a;
	uint64_t account;
	uint32_t generation;
};

static void on_rehashed(struct hash_job *job)
{
	struct rehash *r = container_of(job, struct rehash, job);
	struct account *acc = live_account(r->a, r->account);

	if (!job->is_dropped && job->result == 0 && acc && acc->generation == r->generation)
		account_rehash(r->a, acc, span_of(job->phc));
	mem_wipe(job->phc, sizeof(job->phc));
	mem_free(r);
}

/* The parameters were changed since this hash was made, and the password is at hand now. */
static void rehash_if_old(struct authd *a, const struct account *acc, struct span password)
{
	struct hash_params params = authd_hash_params(a);
	struct rehash *r;
	struct phc phc;

	if (phc_parse(&phc, acc->row.phc, NULL) < 0 || phc_has_params(&phc, &params))
		return;
	r = mem_zalloc(sizeof(*r));
	r->a = a;
	r->account = acc->number;
	r->generation = acc->generation;
	r->job.params = params;
	r->job.done = on_rehashed;
	if (!hashq_submit(
		a->hashq, &r->job, password, config_u64(a->cfg, SET_AUTH_QUEUE_MAX), false))
		mem_free(r); /* busy: the next login tries again */
}

static void on_verified(struct hash_job *job)
{
	struct login *l = container_of(job, struct login, job);
	struct account *acc = live_account(l->a, l->account);
	struct span password = span_make(job->password, job->password_n);
	bool is_same = acc && acc->generation == l->generation;

	if (job->result < 0) {
		log_warning("auth-hash", LOG_STR("user", l->user), LOG_ERR(&job->err));
		answer(l, LOGIN_TEMP, NULL, text_busy);
		return;
	}
	if (job->result == 0 || !acc) {
		answer(l, LOGIN_FAILED, NULL, "");
		return;
	}
	/* An account that was changed meanwhile: this login still counts, the next one asks again.
	 */
	if (is_same && !(acc->row.flags & USER_DISABLED)) {
		good_logins_put(l->a->good, acc->number, password, clock_mono_ms(),
		    config_u64(l->a->cfg, SET_AUTH_CACHE_SECONDS) * 1000);
		rehash_if_old(l->a, acc, password);
	}
	let_in(l, acc);
}

/* A thread is free: the throttle may have changed its mind since, and so may the account. */
static enum hash_start may_start(struct hash_job *job)
{
	struct login *l = container_of(job, struct login, job);
	struct account *acc;
	const char *phc = l->a->dummy;

	if (!l->is_counted) {
		enum throttle_answer may = ask_throttle(l);

		if (may == THROTTLE_WAIT)
			return HASH_WAIT;
		if (may == THROTTLE_STOP) {
			l->verdict = LOGIN_THROTTLED;
			return HASH_DROP;
		}
		if (is_quickly_right(l, span_make(job->password, job->password_n))) {
			l->verdict = LOGIN_OK;
			return HASH_DROP;
		}
	}
	acc = live_account(l->a, l->account);
	if (acc && acc->row.phc.n <= PHC_MAX) {
		memcpy(job->phc, acc->row.phc.p, acc->row.phc.n);
		job->phc[acc->row.phc.n] = '\0';
		l->generation = acc->generation;
	} else {
		memcpy(job->phc, phc, strlen(phc) + 1);
	}
	return HASH_GO;
}

static void on_hash_done(struct hash_job *job)
{
	struct login *l = container_of(job, struct login, job);
	struct account *acc = live_account(l->a, l->account);

	if (!job->is_dropped)
		on_verified(job);
	else if (l->verdict == LOGIN_OK && acc)
		let_in(l, acc);
	else if (l->verdict == LOGIN_THROTTLED)
		answer(l, LOGIN_THROTTLED, NULL, text_throttled);
	else
		answer(l, LOGIN_TEMP, NULL, text_busy);
}

/* --- the beginning -----------------------------------------------------------------------------
 */
static void find_account(struct login *l, struct span user)
{
	char text[NAME_TEXT_MAX + 1];
	struct account *acc;
	struct name nm;

	for (size_t i = 0; i < user.n; i++)
		l->user[i] = ascii_lower(user.p[i]);
	l->user[user.n] = '\0';
	l->who.account = span_make(l->user, user.n);
	if (name_parse(&nm, user, NULL) < 0)
		return;
	acc = index_account(&l->a->index, span_make(text, name_format(&nm, text)));
	if (!acc)
		return;
	l->account = acc->number;
	/* However the name was written, its failures are counted in one place. */
	if (acc->row.address.n <= USER_MAX) {
		memcpy(l->user, acc->row.address.p, acc->row.address.n);
		l->user[acc->row.address.n] = '\0';
		l->who.account = span_make(l->user, acc->row.address.n);
	}
	l->who.is_known = account_is_known(acc, l->who.network, (uint64_t)clock_now());
}

static struct login *login_new(struct authd *a, const struct ipc_login *q)
{
	struct login *l = mem_zalloc(sizeof(*l));

	l->a = a;
	l->verdict = LOGIN_TEMP;
	copy_word(l->protocol, q->protocol);
	copy_word(l->listener, q->listener);
	copy_word(l->client, q->client);
	l->who.network = login_network(q->client, l->net);
	l->job.is_verify = true;
	l->job.may_start = may_start;
	l->job.done = on_hash_done;
	return l;
}

void login_ask(struct authd *a, const struct ipc_login *q,
    void (*on_answer)(void *arg, const struct login_answer *answer), void *arg)
{
	struct login *l = login_new(a, q);
	enum throttle_answer may;

	l->on_answer = on_answer;
	l->arg = arg;
	/* An empty password must never be "right", an endless one not cost anything. */
	if (q->user.n == 0 || q->user.n > USER_MAX || q->password.n == 0 ||
	    q->password.n > PASSWORD_MAX || protocol_bit(q->protocol) == 0) {
		answer(l, LOGIN_FAILED, NULL, "");
		return;
	}
	find_account(l, q->user);
	may = ask_throttle(l);
	if (may == THROTTLE_STOP) {
		answer(l, LOGIN_THROTTLED, NULL, text_throttled);
		return;
	}
	if (may == THROTTLE_GO && is_quickly_right(l, q->password)) {
		let_in(l, live_account(a, l->account));
		return;
	}
	if (!hashq_submit(
		a->hashq, &l->job, q->password, config_u64(a->cfg, SET_AUTH_QUEUE_MAX), false))
		answer(l, LOGIN_TEMP, NULL, text_busy);
}
