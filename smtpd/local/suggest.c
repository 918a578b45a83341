/*
 * route suggest: where mail does not get through from here, though it might through a smarthost,
 * by what the trace has. A domain whose servers refuse us time and again, for what we are and not
 * for what was sent; or nobody can be reached at all.
 */
#include "smtpd/local/local.h"

#include "common/base/mem.h"

#include <stdio.h>
#include <string.h>

#define RECORDS_MAX 20000
#define DOMAINS_MAX 2000
#define REFUSED_MIN 3     /* messages of a domain */
#define UNREACHABLE_MIN 4 /* domains */

struct seen {
	uint64_t refused, last_qid;
	bool is_reached;     /* something was taken, later than what is looked at */
	bool is_unreachable; /* and nothing was */
	char text[200];
};

struct suggest {
	struct db_job job;
	struct admin_request rq;
	struct hash *domains; /* -> struct seen */
	bool is_reached;      /* anybody was */
	uint64_t next;
};

/* Words by which servers say that it is the address that they do not want. */
static bool is_about_us(struct span text)
{
	static const struct span words[] = {SPAN_INIT("blocklist"), SPAN_INIT("blacklist"),
	    SPAN_INIT("blocked"), SPAN_INIT("spamhaus"), SPAN_INIT("reputation"),
	    SPAN_INIT("banned"), SPAN_INIT("dynamic"), SPAN_INIT("dialup"),
	    SPAN_INIT("residential"), SPAN_INIT("reverse dns"), SPAN_INIT("not allowed to send"),
	    SPAN_INIT("listed"), SPAN_INIT("poor"), SPAN_INIT("5.7.1 ")};

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (span_ifind(text, words[i]) >= 0)
			return true;
	return false;
}

static struct seen *seen_of(struct suggest *g, struct span to)
{
	ssize_t at = span_rchr(to, '@');
	struct span domain = span_from(to, (size_t)(at + 1));
	struct seen *s = at < 0 ? NULL : hash_get(g->domains, domain);

	if (s || at < 0 || hash_count(g->domains) == DOMAINS_MAX)
		return s;
	s = mem_zalloc(sizeof(*s));
	hash_set(g->domains, domain, s);
	return s;
}

/* The newest first: what was taken later makes up for what was refused before. */
static bool take(void *arg, const struct trace_record *r)
{
	struct suggest *g = arg;
	bool is_failure = r->event == TRACE_DEFERRED || r->event == TRACE_FAILED;
	struct seen *s = is_failure || r->event == TRACE_SENT ? seen_of(g, r->to) : NULL;

	if (!s)
		return true;
	if (r->event == TRACE_SENT) {
		s->is_reached = g->is_reached = true;
		return true;
	}
	if (s->is_reached)
		return true;
	if (s->refused == 0)
		snprintf(s->text, sizeof(s->text), "%.*s", SPAN_FMT(r->text));
	s->is_unreachable |= span_find(r->text, SPAN(" 4.4.1 ")) >= 0;
	if (is_about_us(r->text) && r->qid != s->last_qid)
		s->refused++;
	s->last_qid = r->qid;
	return true;
}

static void suggest_run(struct db_job *job, struct db_txn *txn)
{
	struct suggest *g = container_of(job, struct suggest, job);

	trace_back(txn, 0, RECORDS_MAX, take, g, &g->next, &job->err);
}

static void add(struct suggest *g, const char *scope, struct span domain, const char *why)
{
	struct strbuf b;
	char text[QUEUE_DEST_MAX + 16], command[QUEUE_DEST_MAX + 80];

	snprintf(text, sizeof(text), "%s%.*s", scope, SPAN_FMT(domain));
	snprintf(command, sizeof(command),
	    "mailsteadctl route add %s HOST user=NAME --password-stdin", text);
	strbuf_init(&b, 4096);
	ipc_rec_text(&b, "for", span_of(text));
	ipc_rec_text(&b, "because", span_of(why));
	ipc_rec_text(&b, "command", span_of(command));
	admin_record(&g->rq, &b);
	strbuf_clear(&b);
}

struct counting {
	struct suggest *g;
	size_t unreachable;
};

static void finish_one(struct span domain, void *value, void *arg)
{
	struct counting *c = arg;
	struct seen *s = value;

	c->unreachable += s->is_unreachable && !s->is_reached;
	if (s->refused >= REFUSED_MIN)
		add(c->g, "to:", domain, s->text);
	mem_free(s);
}

static void suggest_done(struct db_job *job)
{
	struct suggest *g = container_of(job, struct suggest, job);
	struct counting c = {.g = g};

	hash_each(g->domains, finish_one, &c);
	if (!g->is_reached && c.unreachable >= UNREACHABLE_MIN)
		add(g, "all", span_make("", 0),
		    "no server can be reached: the provider seems to block port 25 "
		    "(mailsteadctl check-network)");
	admin_end(&g->rq, job->err.code, "%s", job->err.text);
	hash_free(g->domains);
	mem_free(g);
}

void suggest_admin(struct local *l, const struct admin_request *rq)
{
	struct suggest *g = mem_zalloc(sizeof(*g));

	g->rq = *rq;
	g->domains = hash_new();
	g->job = (struct db_job){.run = suggest_run, .done = suggest_done};
	queue_read(l->queue, &g->job);
}
