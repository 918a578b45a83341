/* Carrying a new plan into the roles: all of them, or none. */
#include "common/daemon/monitor_int.h"

#include "common/base/mem.h"
#include "common/log/log.h"

#include <signal.h>

#define PREPARE_MS 10000
#define COMMIT_MS 5000
#define QUEUE_MAX 8

/* A change that waits for the one on its way. */
struct queued {
	struct list link;
	enum change_to to;
	void (*done)(void *arg, const struct err *err);
	void *arg;
};

static void end(struct change *c)
{
	struct monitor *m = c->m;

	timer_clear(&c->deadline);
	for (size_t i = 0; i < m->spec->count; i++)
		if (c->fetches[i].call)
			ipc_call_cancel(c->fetches[i].call);
	mem_free(c->fetches);
	plan_clear(&c->next);
	m->change = NULL;
	mem_free(c);
	if (!list_is_empty(&m->queue))
		loop_defer(m->loop, &m->next_change);
}

/* Prepared, or failed and gone; or committed everywhere. */
static void tell(struct change *c)
{
	void (*done)(void *, const struct err *) = c->done;
	void *arg = c->arg;
	struct err err = c->err;

	timer_stop(&c->deadline);
	if (c->is_committed || err.code != ERR_NONE)
		end(c);
	else
		c->is_prepared = true;
	done(arg, &err);
}

static void forget(struct change *c)
{
	for (size_t i = 0; i < c->m->spec->count; i++) {
		struct fed *role = &c->m->roles[i];

		if (role->asked == c->number) {
			program_send(role->program, LINK_ABORT, 0, span_make("", 0), NULL, 0);
			role->asked = role->prepared = 0;
		}
	}
}

static void fail(struct change *c, const struct err *err)
{
	c->err = *err;
	forget(c);
	tell(c);
}

static void on_deadline(void *arg)
{
	struct change *c = arg;
	struct err err = ERR_INIT;

	if (c->is_committed) {
		/* They will get it when they answer, or when they are started again. */
		log_warning("commit-late", LOG_U64("roles", c->waiting));
		tell(c);
		return;
	}
	err_set(&err, ERR_TIMEOUT, "%s: not every process answers in time", c->m->spec->name);
	fail(c, &err);
}

/* Everything is there: to every role that runs. */
static void feed(struct change *c)
{
	struct monitor *m = c->m;

	for (size_t i = 0; i < m->spec->count; i++) {
		struct fed *role = &m->roles[i];

		/* One that is starting takes the new plan when it is the plan. */
		if (role->committed == 0)
			continue;
		plan_send(&c->next, role, c->number);
		c->waiting++;
	}
	if (c->waiting == 0)
		tell(c);
}

static void on_keys(void *arg, const struct ipc_msg *msg, const struct err *why)
{
	struct change_fetch *f = arg;
	struct change *c = f->c;
	struct err err = why ? *why : (struct err)ERR_INIT;

	f->call = NULL;
	if (!msg || keys_check(msg, &err) < 0) {
		plan_blame_certificate(&c->next, &err);
		fail(c, &err);
		return;
	}
	plan_take_set(&c->next, f->role, msg->body);
	if (--c->fetching == 0)
		feed(c);
}

static void fetch(struct change *c)
{
	struct monitor *m = c->m;

	for (size_t i = 0; i < m->spec->count; i++) {
		const struct plan_keys *k = &c->next.keys[i];

		c->fetches[i] = (struct change_fetch){.c = c, .role = i};
		if (k->count == 0)
			continue;
		c->fetches[i].call = ipc_call(m->keyd, IPC_KEY_FETCH, strbuf_span(&k->request),
		    KEYS_ANSWER_MS, on_keys, &c->fetches[i]);
		c->fetching++;
	}
	if (c->fetching == 0)
		feed(c);
}

static int load(struct monitor *m, enum change_to to, struct config **cfg, struct err *err)
{
	if (to == CHANGE_FILES)
		return config_load(m->conf_path, cfg, err);
	if (to == CHANGE_NEXT)
		return config_load_next(m->conf_path, cfg, err);
	*cfg = config_ref(m->plan.cfg);
	return 0;
}

static void start(
    struct monitor *m, enum change_to to, void (*done)(void *arg, const struct err *err), void *arg)
{
	struct change *c = mem_zalloc(sizeof(*c));
	struct config *cfg;

	c->m = m;
	c->done = done;
	c->arg = arg;
	c->number = ++m->last_number;
	timer_init(&c->deadline, m->loop, on_deadline, c);
	m->change = c;
	c->fetches = mem_array(m->spec->count, sizeof(*c->fetches));
	if (load(m, to, &cfg, &c->err) < 0 || plan_make(m, &c->next, cfg, &m->plan, &c->err) < 0) {
		tell(c);
		return;
	}
	timer_set(&c->deadline, PREPARE_MS);
	fetch(c);
}

static struct queued *take_queued(struct monitor *m)
{
	struct list *it = list_take_first(&m->queue);

	m->queued -= it != NULL;
	return it ? container_of(it, struct queued, link) : NULL;
}

static void on_next(void *arg)
{
	struct monitor *m = arg;
	struct queued *q = m->change ? NULL : take_queued(m);

	if (!q)
		return;
	start(m, q->to, q->done, q->arg);
	mem_free(q);
}

void change_init(struct monitor *m)
{
	list_init(&m->queue);
	m->next_change = (struct deferred){.fn = on_next, .arg = m};
}

void change_end(struct monitor *m)
{
	struct err err = ERR_INIT;
	struct queued *q;

	err_set(&err, ERR_BUSY, "%s: shutting down", m->spec->name);
	while ((q = take_queued(m))) {
		q->done(q->arg, &err);
		mem_free(q);
	}
	if (m->change)
		change_abort(m->change);
	deferred_cancel(&m->next_change);
}

int change_prepare(struct monitor *m, enum change_to to,
    void (*done)(void *arg, const struct err *err), void *arg, struct err *err)
{
	struct queued *q;

	if (m->is_stopping || m->queued == QUEUE_MAX)
		return err_set(err, ERR_BUSY, "%s: %s", m->spec->name,
		    m->is_stopping ? "shutting down" : "too many changes at once");
	if (!m->change && list_is_empty(&m->queue)) {
		start(m, to, done, arg);
		return 0;
	}
	q = mem_zalloc(sizeof(*q));
	*q = (struct queued){.to = to, .done = done, .arg = arg};
	list_append(&m->queue, &q->link);
	m->queued++;
	return 0;
}

void change_commit(struct change *c, void (*done)(void *arg, const struct err *err), void *arg)
{
	struct monitor *m = c->m;
	struct plan before;

	plan_move(&before, &m->plan);
	plan_move(&m->plan, &c->next);
	m->number = c->number;
	c->done = done;
	c->arg = arg;
	c->is_committed = true;
	c->waiting = 0;
	for (size_t i = 0; i < m->spec->count; i++) {
		struct fed *role = &m->roles[i];

		if (role->prepared == m->number) {
			program_send(
			    role->program, LINK_COMMIT, m->number, span_make("", 0), NULL, 0);
			c->waiting++;
		} else if (program_pid(role->program) > 0) {
			plan_send(&m->plan, role, m->number);
		}
	}
	plan_tell_manager(&before, &m->plan);
	plan_clear(&before);
	if (m->is_stopping)
		plan_close_ports(&m->plan);
	if (plan_generation(&m->plan) != 0)
		keys_watch_from(m->watch, plan_generation(&m->plan));
	timer_set(&c->deadline, COMMIT_MS);
	if (c->waiting == 0)
		tell(c);
}

void change_abort(struct change *c)
{
	forget(c);
	end(c);
}

/* --- roles ------------------------------------------------------------------------------------ */
void change_role_started(struct fed *role)
{
	role->prepared = role->committed = 0;
	plan_send(&role->m->plan, role, role->m->number);
}

static void answered(struct change *c)
{
	if (c && c->waiting > 0 && --c->waiting == 0)
		tell(c);
}

static void refused(struct fed *role, uint32_t number, const struct ipc_error *e)
{
	struct monitor *m = role->m;
	struct err err = ERR_INIT;

	err_set(&err, (enum err_code)e->code, "%s: %.*s", role->def->name,
	    e->text.n < 200 ? (int)e->text.n : 200, e->text.p);
	if (m->change && m->change->number == number && !m->change->is_committed) {
		fail(m->change, &err);
		return;
	}
	log_error("role-refused", LOG_ERR(&err));
	if (!m->was_ready && !m->is_upgraded)
		monitor_fail(m, &err);
	else
		program_signal(role->program, SIGTERM); /* and start again, with back-off */
}

static void prepared(struct fed *role, uint32_t number)
{
	struct monitor *m = role->m;

	role->prepared = number;
	if (number == m->number)
		program_send(role->program, LINK_COMMIT, number, span_make("", 0), NULL, 0);
	else if (m->change && m->change->number == number)
		answered(m->change);
}

void change_role_says(struct fed *role, const struct ipc_msg *msg)
{
	struct monitor *m = role->m;
	struct ipc_error e;

	if ((msg->type != LINK_PREPARED && msg->type != LINK_COMMITTED) ||
	    !ipc_dec_error(msg->body, &e)) {
		log_warning(
		    "link-message", LOG_STR("role", role->def->name), LOG_U64("type", msg->type));
		return;
	}
	if (msg->id != role->asked)
		return; /* an answer that nobody waits for any more */
	if (e.code != ERR_NONE) {
		refused(role, msg->id, &e);
	} else if (msg->type == LINK_PREPARED) {
		prepared(role, msg->id);
	} else {
		if (role->committed == 0 && role->def->signs)
			feed_start(role);
		role->committed = msg->id;
		if (m->change && m->change->is_committed && m->change->number == msg->id)
			answered(m->change);
	}
}

void change_role_gone(struct fed *role)
{
	struct change *c = role->m->change;
	bool is_waited_for =
	    c && role->committed != 0 && role->asked == c->number &&
	    (c->is_committed ? role->committed != c->number : role->prepared != c->number);

	role->asked = role->prepared = role->committed = 0;
	if (role->def->signs)
		feed_stop(role->m);
	if (is_waited_for)
		answered(c);
}
