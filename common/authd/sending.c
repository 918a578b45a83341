#include "common/authd/sending.h"

#include "common/base/mem.h"
#include "common/event/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define MINUTE 60
#define HOUR 3600
#define DAY 86400
#define WAYS 8
#define SETS 512 /* WAYS * SETS recipients are remembered; then the oldest of a set goes */

struct window {
	int64_t start;
	uint64_t count;
};

struct sending {
	struct window minute, hour, day, fresh;
	int64_t last;
	bool is_dirty;
	/* Who was written to before, by a fingerprint: the latest of each set first. */
	uint32_t known[SETS][WAYS];
};

struct sendings {
	struct hash *all; /* account -> struct sending */
};

static struct span key_of(const uint64_t *account)
{
	return span_make(account, sizeof(*account));
}

struct sendings *sendings_new(void)
{
	struct sendings *s = mem_zalloc(sizeof(*s));

	s->all = hash_new();
	return s;
}

static void free_one(struct span key, void *value, void *arg)
{
	mem_free(value);
}

void sendings_free(struct sendings *s)
{
	if (!s)
		return;
	hash_each(s->all, free_one, NULL);
	hash_free(s->all);
	mem_free(s);
}

static struct sending *sending_of(struct sendings *s, uint64_t account)
{
	struct sending *one = hash_get(s->all, key_of(&account));

	if (!one) {
		one = mem_zalloc(sizeof(*one));
		hash_set(s->all, key_of(&account), one);
	}
	return one;
}

/* --- rows ------------------------------------------------------------------------------------- */
static void enc_window(struct strbuf *b, const struct window *w)
{
	enc_u64(b, (uint64_t)w->start);
	enc_u64(b, w->count);
}

static void dec_window(struct dec *d, struct window *w)
{
	w->start = (int64_t)dec_u64(d);
	w->count = dec_u64(d);
}

static void encode(struct strbuf *b, const struct sending *one)
{
	enc_u8(b, 1);
	enc_window(b, &one->minute);
	enc_window(b, &one->hour);
	enc_window(b, &one->day);
	enc_window(b, &one->fresh);
	enc_u64(b, (uint64_t)one->last);
	for (size_t i = 0; i < SETS; i++)
		for (size_t k = 0; k < WAYS; k++)
			enc_u32(b, one->known[i][k]);
}

static bool decode(struct span row, struct sending *one)
{
	struct dec d = dec_of(row);

	if (dec_u8(&d) != 1)
		return false;
	dec_window(&d, &one->minute);
	dec_window(&d, &one->hour);
	dec_window(&d, &one->day);
	dec_window(&d, &one->fresh);
	one->last = (int64_t)dec_u64(&d);
	for (size_t i = 0; i < SETS; i++)
		for (size_t k = 0; k < WAYS; k++)
			one->known[i][k] = dec_u32(&d);
	return dec_done(&d);
}

int sendings_apply(struct sendings *s, uint64_t account, struct span row, struct err *err)
{
	struct sending *one;

	if (!row.p) {
		mem_free(hash_remove(s->all, key_of(&account)));
		return 0;
	}
	/* Our own writing comes back here: memory is newer. */
	if (hash_get(s->all, key_of(&account)))
		return 0;
	one = sending_of(s, account);
	if (decode(row, one))
		return 0;
	mem_free(hash_remove(s->all, key_of(&account)));
	return err_set(err, ERR_CORRUPT, "accounts: a row of what was sent does not decode");
}

static void save_one(struct span key, void *value, void *arg)
{
	struct authd *a = arg;
	struct sending *one = value;
	struct change *c;
	struct db_key row_key;
	struct strbuf b;
	uint64_t account;

	if (!one->is_dirty)
		return;
	one->is_dirty = false;
	memcpy(&account, key.p, sizeof(account));
	strbuf_init(&b, sizeof(*one) + 256);
	encode(&b, one);
	row_key_number(&row_key, ROW_SENT, account);
	c = change_new(a);
	change_put(c, &row_key, &b);
	change_commit_lazy(c);
}

void sendings_save(struct authd *a)
{
	hash_each(a->sendings->all, save_one, a);
}

/* --- limits ----------------------------------------------------------------------------------- */
static const struct {
	const char *name;
	enum setting setting;
} limits[LIMIT_COUNT] = {
    [LIMIT_MINUTE] = {"per_minute", SET_SEND_PER_MINUTE},
    [LIMIT_HOUR] = {"per_hour", SET_SEND_PER_HOUR},
    [LIMIT_DAY] = {"per_day", SET_SEND_PER_DAY},
    [LIMIT_NEW] = {"new_recipients_per_day", SET_SEND_NEW_PER_DAY},
    [LIMIT_SESSIONS] = {"sessions", SET_SEND_SESSIONS},
    [LIMIT_PAUSE] = {"pause", SET_SEND_PAUSE},
};

const char *sending_limit_name(enum send_limit l)
{
	return limits[l].name;
}

void sending_limits(const struct config *cfg, const struct account *acc, uint64_t out[LIMIT_COUNT])
{
	for (int i = 0; i < LIMIT_COUNT; i++)
		out[i] = acc->has_limits && acc->limits.values[i] != LIMIT_DEFAULT
			     ? acc->limits.values[i]
			     : config_u64(cfg, limits[i].setting);
}

static uint64_t count_in(struct window *w, int64_t now, int64_t length)
{
	/* A clock that was set back ends the window too. */
	if (now < w->start || now >= w->start + length)
		*w = (struct window){now, 0};
	return w->count;
}

static void format_until(char *out, size_t cap, int64_t until)
{
	time_t t = (time_t)until;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || strftime(out, cap, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
		out[0] = '\0';
}

static enum ipc_submit_status limited(
    char text[SENDING_TEXT_MAX], uint64_t limit, const char *what, int64_t until)
{
	char when[64];

	format_until(when, sizeof(when), until);
	snprintf(text, SENDING_TEXT_MAX, "Sending limit of %llu %s, until %s",
	    (unsigned long long)limit, what, when);
	return SUBMIT_LIMITED;
}

static enum ipc_submit_status ask_mail(
    struct sending *one, const uint64_t most[LIMIT_COUNT], int64_t now, char text[SENDING_TEXT_MAX])
{
	if (most[LIMIT_PAUSE] > 0 && now >= one->last &&
	    now < one->last + (int64_t)most[LIMIT_PAUSE])
		return limited(text, most[LIMIT_PAUSE], "s between messages",
		    one->last + (int64_t)most[LIMIT_PAUSE]);
	if (most[LIMIT_MINUTE] > 0 && count_in(&one->minute, now, MINUTE) >= most[LIMIT_MINUTE])
		return limited(
		    text, most[LIMIT_MINUTE], "messages a minute", one->minute.start + MINUTE);
	if (most[LIMIT_HOUR] > 0 && count_in(&one->hour, now, HOUR) >= most[LIMIT_HOUR])
		return limited(text, most[LIMIT_HOUR], "messages an hour", one->hour.start + HOUR);
	if (most[LIMIT_DAY] > 0 && count_in(&one->day, now, DAY) >= most[LIMIT_DAY])
		return limited(text, most[LIMIT_DAY], "messages a day", one->day.start + DAY);
	return SUBMIT_OK;
}

/* Under a fixed key: fingerprints outlive the process. */
static uint64_t fingerprint(struct span address)
{
	static const unsigned char key[16] = "recipients known";

	return hash_siphash(key, address);
}

/* Whether address is known; it is the latest of its set afterwards. */
static bool is_known(struct sending *one, struct span address, bool add)
{
	uint64_t h = fingerprint(address);
	uint32_t *set = one->known[h % SETS];
	uint32_t mark = (uint32_t)(h >> 32) | 1;
	size_t at = 0;

	while (at < WAYS && set[at] != mark)
		at++;
	if (at == WAYS && !add)
		return false;
	memmove(set + 1, set, (at < WAYS ? at : WAYS - 1) * sizeof(*set));
	set[0] = mark;
	return at < WAYS;
}

static enum ipc_submit_status ask_rcpt(struct sending *one, struct span address,
    const uint64_t most[LIMIT_COUNT], int64_t now, char text[SENDING_TEXT_MAX])
{
	if (is_known(one, address, false))
		return SUBMIT_OK;
	if (most[LIMIT_NEW] > 0 && count_in(&one->fresh, now, DAY) >= most[LIMIT_NEW])
		return limited(
		    text, most[LIMIT_NEW], "new recipients a day", one->fresh.start + DAY);
	(void)count_in(&one->fresh, now, DAY);
	one->fresh.count++;
	is_known(one, address, true);
	one->is_dirty = true;
	return SUBMIT_OK;
}

static void count_sent(struct sending *one, int64_t now)
{
	(void)count_in(&one->minute, now, MINUTE);
	(void)count_in(&one->hour, now, HOUR);
	(void)count_in(&one->day, now, DAY);
	one->minute.count++;
	one->hour.count++;
	one->day.count++;
	one->last = now;
	one->is_dirty = true;
}

enum ipc_submit_status sending_ask(struct authd *a, const struct account *acc,
    const struct ipc_submit *q, int64_t now, char text[SENDING_TEXT_MAX])
{
	struct resolver rv = authd_resolver(a);
	struct sending *one = sending_of(a->sendings, acc->number);
	uint64_t most[LIMIT_COUNT];

	text[0] = '\0';
	sending_limits(a->cfg, acc, most);
	switch (q->step) {
	case SUBMIT_MAIL:
		if (!resolve_may_send(&rv, acc, q->address))
			return SUBMIT_NOT_YOURS;
		return ask_mail(one, most, now, text);
	case SUBMIT_RCPT:
		return ask_rcpt(one, q->address, most, now, text);
	default:
		count_sent(one, now);
		return SUBMIT_OK;
	}
}
