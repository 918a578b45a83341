#include "smtpd/send/check.h"

#include "common/base/mem.h"

#include <string.h>

#define ROWS_MAX 128
#define ROW_MAX (32 * 1024)
#define FOUND_MAX 4096
#define AT_ONCE_MAX 4 /* checks; each has a resolver of its own */

struct checking;

struct item {
	struct checking *c;
	struct span row;
	struct wanted_record want;
	struct dns_query *query;
	bool is_done;
	struct compared result;
};

struct checking {
	struct send *send;
	struct admin_request rq;
	struct dns *dns; /* with an empty cache: what was just published is seen */
	struct strbuf rows;
	struct item items[ROWS_MAX];
	size_t count, told;
	struct deferred end; /* the resolver goes when none of its answers is looked at */
};

static size_t running;

static void checking_free(void *arg)
{
	struct checking *c = arg;

	dns_free(c->dns);
	for (size_t i = 0; i < c->count; i++)
		strbuf_clear(&c->items[i].result.found);
	strbuf_clear(&c->rows);
	running--;
	mem_free(c);
}

static void tell(struct checking *c, const struct item *i)
{
	struct strbuf row;

	strbuf_init(&row, ROW_MAX);
	strbuf_add(&row, i->row);
	ipc_rec_text(&row, "status", span_of(record_status_name(i->result.status)));
	ipc_rec_text(&row, "found", strbuf_span(&i->result.found));
	ipc_rec_text(&row, "advice", span_of(i->result.advice));
	admin_record(&c->rq, &row);
	strbuf_clear(&row);
}

/* In order, as far as they are known. */
static void go_on(struct checking *c)
{
	while (c->told < c->count && c->items[c->told].is_done)
		tell(c, &c->items[c->told++]);
	if (c->told < c->count)
		return;
	admin_end(&c->rq, ERR_NONE, "%s", "");
	loop_defer(c->send->role->loop, &c->end);
}

static void on_answer(void *arg, const struct dns_answer *a)
{
	struct item *i = arg;

	i->query = NULL;
	i->is_done = true;
	record_compare(&i->want, a, &i->result);
	go_on(i->c);
}

static void ask(struct item *i)
{
	static const struct dns_answer nothing = {.status = DNS_FAILED, .canonical = "", .why = ""};
	char name[DNS_NAME_MAX + 1];
	enum dns_type type;
	size_t n = i->want.name.n;

	if (n > 0 && i->want.name.p[n - 1] == '.')
		n--;
	if (n == 0 || n > DNS_NAME_MAX || !record_type(&i->want, &type)) {
		i->is_done = true;
		record_compare(&i->want, &nothing, &i->result);
		return;
	}
	memcpy(name, i->want.name.p, n);
	name[n] = '\0';
	i->query = dns_ask(i->c->dns, name, type, on_answer, i);
}

static bool take_rows(struct checking *c)
{
	struct dec rows = dec_of(strbuf_span(&c->rows));

	while (rows.in.n > 0 && c->count < ROWS_MAX) {
		struct item *i = &c->items[c->count];
		struct dec d;
		struct ipc_value v;

		i->row = dec_bytes(&rows);
		if (!dec_ok(&rows) || i->row.n > ROW_MAX / 2)
			return false;
		d = dec_of(i->row);
		while (ipc_rec_next(&d, &v)) {
			if (span_eq(v.name, SPAN("purpose")))
				i->want.purpose = v.text;
			else if (span_eq(v.name, SPAN("name")))
				i->want.name = v.text;
			else if (span_eq(v.name, SPAN("type")))
				i->want.type = v.text;
			else if (span_eq(v.name, SPAN("value")))
				i->want.value = v.text;
		}
		i->c = c;
		strbuf_init(&i->result.found, FOUND_MAX);
		c->count++;
	}
	return rows.in.n == 0;
}

void dns_check(struct send *s, const struct ipc_admin *cmd, const struct admin_request *rq)
{
	struct checking *c;
	struct err err = ERR_INIT;

	if (running == AT_ONCE_MAX) {
		admin_end(rq, ERR_TEMP, "too many checks at once");
		return;
	}
	c = mem_zalloc(sizeof(*c));
	running++;
	c->send = s;
	c->rq = *rq;
	c->end = (struct deferred){.fn = checking_free, .arg = c};
	strbuf_init(&c->rows, IPC_BODY_MAX);
	strbuf_add(&c->rows, cmd->content);
	if (!take_rows(c) || send_open_dns(s, &c->dns, &err) < 0) {
		admin_end(
		    rq, ERR_INVALID, "%s", err.code != ERR_NONE ? err.text : "malformed rows");
		checking_free(c);
		return;
	}
	for (size_t i = 0; i < c->count; i++)
		ask(&c->items[i]);
	go_on(c);
}
