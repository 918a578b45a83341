/*
 * The keys that mail is signed with, from keyd to the role that signs: all of them when it serves,
 * and again whenever they change. The monitor passes the pages on and keeps none.
 */
#include "common/daemon/monitor_int.h"

#include "common/log/log.h"

#include <string.h>

#define AGAIN_MS 100
#define WATCH_MS 300000

static void ask(struct dkim_feed *f);

/* From the first page, whatever the role has. */
static void begin_again(struct dkim_feed *f)
{
	f->generation = f->page_generation = 0;
	f->after[0] = '\0';
	timer_set(&f->again, AGAIN_MS);
}

/* Where the next page begins; false if this one does not go on from the last. */
static bool take_page(struct dkim_feed *f, struct ipc_dkim_set *set)
{
	struct ipc_dkim_key key, last = {.domain = SPAN("")};

	if (set->is_first != (f->after[0] == '\0') ||
	    (!set->is_first && set->generation != f->page_generation))
		return false;
	while (ipc_dkim_next(set, &key))
		last = key;
	if (!set->is_last && (last.domain.n == 0 || last.domain.n >= sizeof(f->after)))
		return false;
	f->page_generation = set->generation;
	memset(f->after, 0, sizeof(f->after));
	if (set->is_last)
		f->generation = set->generation;
	else
		memcpy(f->after, last.domain.p, last.domain.n);
	return true;
}

static void on_set(void *arg, const struct ipc_msg *msg, const struct err *err)
{
	struct dkim_feed *f = arg;
	struct ipc_dkim_set set;

	f->call = NULL;
	if (!msg && err->code == ERR_TIMEOUT && f->after[0] == '\0') {
		timer_set(&f->again, 0); /* nothing has changed */
		return;
	}
	if (!msg || msg->type != IPC_DKIM_SET || !ipc_dec_dkim_set(msg->body, &set) ||
	    !take_page(f, &set) ||
	    !program_send(f->role->program, LINK_DKIM, 0, msg->body, NULL, 0))
		begin_again(f);
	else
		ask(f);
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
