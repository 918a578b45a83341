/* Records of what was refused. They ride in commits that are made anyway, or go after a second; a
 * flood of refusals is only counted. */
#include "smtpd/receive/receive.h"

#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/log/log.h"

#include <stdio.h>
#include <string.h>

#define A_SECOND_MAX 100

struct refused {
	struct db_op op;
	struct trace_limits limits;
	struct trace_record record;
	char session[17], client[NET_ADDR_TEXT], text[16];
	char *from, *to;
};

static int refused_run(struct db_op *op, struct db_txn *txn, struct err *err)
{
	struct refused *r = container_of(op, struct refused, op);

	return trace_add(txn, &r->limits, &r->record, err);
}

static void refused_done(struct db_op *op)
{
	struct refused *r = container_of(op, struct refused, op);

	mem_free(r->from);
	mem_free(r->to);
	mem_free(r);
}

static bool is_flood(struct receive *p)
{
	int64_t now = clock_now();

	if (p->refused_second != now) {
		p->refused_second = now;
		p->refused_now = 0;
	}
	return ++p->refused_now > A_SECOND_MAX;
}

void trace_refused(struct session *s, struct span to, int code, const char *enhanced)
{
	struct trace_limits limits = trace_limits_of(s->cfg);
	struct refused *r;

	if (limits.records_max == 0 || is_flood(s->server))
		return;
	r = mem_zalloc(sizeof(*r));
	r->limits = limits;
	memcpy(r->session, s->id, sizeof(r->session));
	memcpy(r->client, s->client, sizeof(r->client));
	snprintf(r->text, sizeof(r->text), "%d %s", code, enhanced ? enhanced : "");
	r->from = mem_strndup(s->t.sender.p, s->t.sender.n);
	r->to = mem_strndup(to.p, to.n);
	r->record = (struct trace_record){
	    .time = clock_now(),
	    .event = TRACE_REFUSED,
	    .size = s->t.size,
	    .session = span_of(r->session),
	    .client = span_of(r->client),
	    .from = span_of(r->from),
	    .to = span_of(r->to),
	    .text = span_of(r->text),
	};
	r->op =
	    (struct db_op){.run = refused_run, .done = refused_done, .cost = 4096, .need = DB_ADDS};
	queue_write_lazy(s->server->queue, &r->op);
}
