/*
 * The keys that mail is signed with, from keyd to the role that signs: all of them when it serves,
 * and again whenever they change. The monitor passes the pages on and keeps none.
 */
#include "common/daemon/monitor_int.h"

#include "common/log/log.h"

#include <string.h>

#define AGAIN_MS 100
#define AGAIN_MAX_MS 5000
#define WATCH_MS 300000

static void ask(struct dkim_feed *f);

/* From the first page, whatever the role has; the log says so once. */
static void begin_again(struct dkim_feed *f, const char *why)
{
	if (f->pause == 0)
		log_warning(
		    "dkim-feed", LOG_STR("role", f->role->def->name), LOG_STR("reason", why));
	f->pause = f->pause == 0                 ? AGAIN_MS
		   : f->pause * 2 < AGAIN_MAX_MS ? f->pause * 2
						 : AGAIN_MAX_MS;
	f->generation = f->page_generation = 0;
	f->after[0] = '\0';
	timer_set(&f->again, f->pause);
}

/* Whether a page is the one that comes next. */
static bool goes_on(const struct dkim_feed *f, const struct ipc_dkim_set *set)
{
	return set->is_first == (f->after[0] == '\0') &&
	       (set->is_first || set->generation == f->page_generation);
}

/* Where the next page begins. */
static void take_page(struct dkim_feed *f, struct ipc_dkim_set *set)
{
	struct ipc_dkim_key key, last = {.domain = SPAN("")};

	while (ipc_dkim_next(set, &key))
		last = key;
	f->page_generation = set->generation;
	memset(f->after, 0, sizeof(f->after));
	if (set->is_last)
		f->generation = set->generation;
	else if (last.domain.n < sizeof(f->after))
		memcpy(f->after, last.domain.p, last.domain.n);
}

/* What is wrong with an answer; NULL: nothing, and the role has it, or will be given it again. */
static const char *pass_on(struct dkim_feed *f, const struct ipc_msg *msg)
{
	struct ipc_dkim_set set;

	if (msg->type != IPC_DKIM_SET || !ipc_dec_dkim_set(msg->body, &set))
		return "keyd has no answer that makes sense";
	if (!goes_on(f, &set))
		return "keys changed meanwhile";
	if (program_send(f->role->program, LINK_DKIM, 0, msg->body, NULL, 0)) {
		take_page(f, &set);
		ask(f);
	} else {
		timer_set(&f->again, AGAIN_MS); /* it has not read what came before */
	}
	return NULL;
}

static void on_set(void *arg, const struct ipc_msg *msg, const struct err *err)
{
	struct dkim_feed *f = arg;
	const char *why;

	f->call = NULL;
	if (!msg && err->code == ERR_TIMEOUT && f->after[0] == '\0') {
		timer_set(&f->again, 0); /* nothing has changed */
		return;
	}
	why = msg ? pass_on(f, msg) : err->text;
	if (why) {
		begin_again(f, why);
		return;
	}
	f->pause = 0;
}

static void ask(struct dkim_feed *f)
{
	struct ipc_dkim_fetch m = {.generation = f->generation, .after = span_of(f->after)};
	struct strbuf body;

	strbuf_init(&body, 512);
	ipc_enc_dkim_fetch(&body, &m);
	f->call =
	    ipc_call(f->role->m->keyd, IPC_DKIM_FETCH, strbuf_span(&body), WATCH_MS, on_set, f);
	strbuf_clear(&body);
}

static void on_again(void *arg)
{
	ask(arg);
}

void feed_start(struct fed *role)
{
	struct dkim_feed *f = &role->m->feed;

	feed_stop(role->m);
	f->role = role;
	f->generation = f->page_generation = 0;
	f->after[0] = '\0';
	f->pause = 0;
	timer_init(&f->again, role->m->loop, on_again, f);
	ask(f);
}

void feed_stop(struct monitor *m)
{
	struct dkim_feed *f = &m->feed;

	if (f->call)
		ipc_call_cancel(f->call);
	f->call = NULL;
	if (f->role)
		timer_clear(&f->again);
	f->role = NULL;
}
