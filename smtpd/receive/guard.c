/* What the server remembers of clients between their sessions, in memory only. */
#include "smtpd/receive/receive.h"

#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/log/log.h"

#include <string.h>

#define KNOWN_MAX 50000
#define RECORDINGS_MAX 16
#define RECORDING_MS (3600 * 1000)

struct recording {
	struct list link;
	struct net_addr addr;
	uint64_t until; /* monotonic ms */
};

void guard_init(struct receive *p)
{
	p->known = hash_new();
	p->senders = hash_new();
	list_init(&p->recordings);
}

static void recording_free(struct receive *p, struct recording *r)
{
	list_remove(&r->link);
	mem_free(r);
}

void guard_clear(struct receive *p)
{
	LIST_EACH_SAFE (it, &p->recordings)
		recording_free(p, container_of(it, struct recording, link));
	hash_free(p->known);
	hash_free(p->senders);
}

static struct span network_of(const struct net_addr *a, unsigned char buf[20])
{
	size_t n;

	net_addr_prefix(a, 24, 48, buf, &n);
	return span_make(buf, n);
}

bool guard_is_known(const struct receive *p, const struct net_addr *a)
{
	unsigned char buf[20];

	return hash_get(p->known, network_of(a, buf)) != NULL;
}

void guard_remember(struct receive *p, const struct net_addr *a)
{
	unsigned char buf[20];

	/* Rather forget all than keep an order: they will be known again with their next message.
	 */
	if (hash_count(p->known) >= KNOWN_MAX) {
		hash_free(p->known);
		p->known = hash_new();
	}
	hash_set(p->known, network_of(a, buf), p);
}

/* --- recording -------------------------------------------------------------------------------- */
bool guard_is_recorded(struct receive *p, const struct net_addr *a)
{
	uint64_t now = clock_mono_ms();
	bool is_recorded = false;

	LIST_EACH_SAFE (it, &p->recordings) {
		struct recording *r = container_of(it, struct recording, link);

		is_recorded |= r->until > now && net_addr_equal_ip(&r->addr, a);
		if (r->until <= now || net_addr_equal_ip(&r->addr, a))
			recording_free(p, r);
	}
	return is_recorded;
}

static int record(struct receive *p, struct span address, struct err *err)
{
	struct recording *r;
	struct net_addr a;
	size_t count = 0;

	if (net_addr_parse(&a, address, 0, err) < 0)
		return -1;
	LIST_EACH (it, &p->recordings)
		count++;
	if (count == RECORDINGS_MAX)
		return err_set(
		    err, ERR_LIMIT, "%d addresses are waited for already", RECORDINGS_MAX);
	r = mem_zalloc(sizeof(*r));
	r->addr = a;
	r->until = clock_mono_ms() + RECORDING_MS;
	list_append(&p->recordings, &r->link);
	return 0;
}

void guard_admin(struct role *r, const struct ipc_admin *cmd, const struct admin_request *rq)
{
	struct err err = ERR_INIT;

	if (cmd->count != 2 || !span_eq(cmd->words[0], SPAN("record")))
		admin_end(rq, ERR_UNSUPPORTED, "smtpd-receive has no such verb");
	else if (record(r->ctx, cmd->words[1], &err) < 0)
		admin_end(rq, err.code, "%s", err.text);
	else
		admin_end(rq, ERR_NONE,
		    "the next session from %.*s within an hour is logged line by line",
		    SPAN_FMT(cmd->words[1]));
}

/* Behind the mechanism of AUTH stands the password. */
static size_t public_length(struct span line)
{
	struct span rest = line;
	ssize_t space;

	if (!span_take_iword(&rest, SPAN("AUTH ")))
		return line.n;
	space = span_chr(rest, ' ');
	return space < 0 ? line.n : line.n - rest.n + (size_t)space + 1;
}

void session_log(const struct session *s, const char *who, struct span line)
{
	size_t n;

	if (!s->is_logged)
		return;
	n = public_length(line);
	if (n == line.n)
		log_info("smtp-line", LOG_STR("session", s->id), LOG_STR("from", who),
		    LOG_SPAN("line", line));
	else
		log_info("smtp-line", LOG_STR("session", s->id), LOG_STR("from", who),
		    LOG_SPAN("line", span_sub(line, 0, n)), LOG_STR("secret", "***"));
}
