/* keyd: a role without listeners, and a socket of its own for the monitors. */
#include "common/base/mem.h"
#include "common/crypto/crypto.h"
#include "common/event/clock.h"
#include "common/keyd/dkim.h"
#include "common/keyd/keyd.h"
#include "common/keyd/shelf.h"
#include "common/log/log.h"

#include <stdlib.h>

#define ROTATE_MS (8 * 3600 * 1000) /* a ticket is good for three of these at most */
#define UPKEEP_MS (6 * 3600 * 1000)
#define LOOK_MS 5000
#define JUMP_SECONDS 3600

/* --- upkeep ----------------------------------------------------------------------------------- */
struct upkeep_job {
	struct work work;
	struct keyd *k;
	struct config *cfg;
	size_t count;
	struct err err;
};

static void upkeep_work(struct work *w)
{
	struct upkeep_job *j = container_of(w, struct upkeep_job, work);

	(void)upkeep_run(j->k->dir, j->cfg, clock_now(), &j->count, &j->err);
}

static void upkeep_done(struct work *w)
{
	struct upkeep_job *j = container_of(w, struct upkeep_job, work);
	struct keyd *k = j->k;

	if (j->err.code != ERR_NONE)
		log_error("upkeep", LOG_ERR(&j->err));
	if (j->count > 0)
		keyd_changed(k);
	config_unref(j->cfg);
	mem_free(j);
	keyd_job_ended(k);
}

/* By how much the wall clock is ahead of the one that nobody sets. */
static int64_t clock_ahead(void)
{
	return clock_now() - (int64_t)(clock_mono_ms() / 1000);
}

static void start_upkeep(struct keyd *k)
{
	struct upkeep_job *j;

	k->upkept_ms = clock_mono_ms();
	k->ahead = clock_ahead();
	if (k->role->is_draining)
		return;
	j = mem_zalloc(sizeof(*j));
	j->k = k;
	j->cfg = config_ref(k->role->cfg);
	j->work.run = upkeep_work;
	j->work.done = upkeep_done;
	k->running++;
	workers_submit(k->disk, &j->work);
}

/* A machine that did not know the time when it started has certificates of another year. */
static void on_look(void *arg)
{
	struct keyd *k = arg;

	if (llabs(clock_ahead() - k->ahead) > JUMP_SECONDS ||
	    clock_mono_ms() - k->upkept_ms >= UPKEEP_MS)
		start_upkeep(k);
	timer_set(&k->upkeep, LOOK_MS);
}

static void on_rotate(void *arg)
{
	struct keyd *k = arg;

	serve_rotate(k);
	keyd_changed(k);
	timer_set(&k->rotate, ROTATE_MS);
}

void keyd_job_ended(struct keyd *k)
{
	k->running--;
	if (k->role->is_draining && k->running == 0)
		role_finished(k->role);
}

/* --- the role --------------------------------------------------------------------------------- */
static int start(struct role *r, struct err *err)
{
	struct keyd *k = mem_zalloc(sizeof(*k));
	size_t made;

	r->ctx = k;
	k->role = r;
	k->loop = r->loop;
	k->generation = random_u64();
	k->dkim_generation = random_u64() | 1;
	list_init(&k->watchers);
	timer_init(&k->rotate, k->loop, on_rotate, k);
	timer_init(&k->upkeep, k->loop, on_look, k);
	k->upkept_ms = clock_mono_ms();
	k->ahead = clock_ahead();
	if (config_state_path(r->cfg, "keys", k->dir, err) < 0 || shelf_open(k->dir, err) < 0 ||
	    dkim_open(k->dir, err) < 0 || upkeep_run(k->dir, r->cfg, clock_now(), &made, err) < 0)
		return -1;
	k->disk = workers_new(k->loop, 1, "disk");
	k->makers = workers_new(k->loop, 1, "make");
	serve_rotate(k);
	timer_set(&k->rotate, ROTATE_MS);
	timer_set(&k->upkeep, LOOK_MS);
	return serve_open(k, err);
}

/* The host name may be another one now. */
static void on_reload(struct role *r)
{
	start_upkeep(r->ctx);
}

static void on_drain(struct role *r)
{
	const struct keyd *k = r->ctx;

	if (k->running == 0)
		role_finished(r);
}

/* Threads end first, while there still is somebody to send their results to. */
static void stop(struct role *r)
{
	struct keyd *k = r->ctx;

	if (!k)
		return;
	if (k->makers)
		workers_free(k->makers);
	if (k->disk)
		workers_free(k->disk);
	timer_clear(&k->rotate);
	timer_clear(&k->upkeep);
	if (k->server)
		serve_close(k);
	mem_free(k);
}

int main(int argc, char **argv)
{
	static const struct role_ops ops = {
	    .name = "keyd",
	    .reads_config = true,
	    .state = {"keys"},
	    .start = start,
	    .on_reload = on_reload,
	    .on_drain = on_drain,
	    .stop = stop,
	    .on_admin = keyd_admin,
	};

	return role_main(argc, argv, &ops);
}
