/* smtpd-local: the role that moves mail from the queue into the store. */
#include "smtpd/local/local.h"

#include "common/base/mem.h"

#include <unistd.h>

#define SWEEP_FIRST_MS (5 * 60 * 1000)
#define SWEEP_EVERY_MS (24 * 3600 * 1000)

static void on_failure(void *arg, const struct err *err)
{
	struct local *l = arg;

	role_fail(l->role, err);
}

static int open_store(struct local *l, struct err *err)
{
	const struct config *cfg = l->role->cfg;
	char dir[CONFIG_PATH_MAX], hints[CONFIG_PATH_MAX];
	struct store_options opt = {
	    .loop = l->role->loop,
	    .dir = dir,
	    .map_size = config_u64(cfg, SET_STORE_MAP_SIZE),
	    .map_max = config_u64(cfg, SET_STORE_MAP_SIZE),
	    .inline_max = config_u64(cfg, SET_STORE_INLINE_MAX),
	    .reader_threads = (unsigned)config_u64(cfg, SET_STORE_READERS),
	    .batch_bytes = config_u64(cfg, SET_STORE_BATCH_BYTES),
	    .expunged_seconds = config_u64(cfg, SET_STORE_UNDELETE_DAYS) * 86400,
	    .hint_path = hints,
	    .on_failure = on_failure,
	    .arg = l,
	};

	if (config_state_path(cfg, "store", dir, err) < 0 ||
	    config_run_path(cfg, RUN_IMAPD_HINT, hints, err) < 0)
		return -1;
	return store_open(&opt, &l->store, err);
}

/* What crashes left in the folders of bodies, once a day. */
static void on_sweep(void *arg)
{
	struct local *l = arg;

	if (!l->role->is_draining) {
		queue_sweep(l->queue);
		store_sweep(l->store);
	}
	timer_set(&l->sweep, SWEEP_EVERY_MS);
}

/* The queue says what has come: no need to look for it. */
void local_tell_send(struct local *l)
{
	static const unsigned char none[QUEUE_HINT_LEN];

	(void)hint_send(l->hint_fd, l->send_hint, span_make(none, sizeof(none)));
}

static void on_hint(void *arg, struct span hint)
{
	scan_hint(arg, be_get64(hint.p));
}

static int start(struct role *r, struct err *err)
{
	struct local *l = mem_zalloc(sizeof(*l));
	struct queue_options opt = {
	    .loop = r->loop,
	    .cfg = r->cfg,
	    .reader_threads = 2,
	    .on_failure = on_failure,
	    .arg = l,
	};
	char path[CONFIG_PATH_MAX];

	r->ctx = l;
	l->role = r;
	l->busy = hash_new();
	settle_init(l);
	l->hint_fd = hint_socket();
	if (config_run_path(r->cfg, RUN_QUEUE_HINT, path, err) < 0 ||
	    config_run_path(r->cfg, RUN_SEND_HINT, l->send_hint, err) < 0 ||
	    queue_open(&opt, &l->queue, err) < 0 || open_store(l, err) < 0)
		return -1;
	l->hints = hint_receiver_new(r->loop, path, QUEUE_HINT_LEN, on_hint, l, err);
	if (!l->hints)
		return -1;
	scan_init(l);
	timer_init(&l->sweep, r->loop, on_sweep, l);
	timer_set(&l->sweep, SWEEP_FIRST_MS);
	return 0;
}

static void on_drain(struct role *r)
{
	struct local *l = r->ctx;

	if (l->deliveries == 0 && !l->is_scanning)
		role_finished(r);
}

static void status(struct role *r, struct strbuf *record)
{
	struct local *l = r->ctx;

	ipc_rec_number(record, "delivered", IPC_NUMBER, l->delivered);
	ipc_rec_number(record, "deferred", IPC_NUMBER, l->deferred);
	ipc_rec_number(record, "under-way", IPC_NUMBER, l->deliveries);
}

static void stop(struct role *r)
{
	struct local *l = r->ctx;

	if (!l)
		return;
	/* Stopped in the middle: what is under way holds on to queue and store. Nothing is lost:
	 * the next start finds it in the queue. */
	if (l->deliveries > 0)
		_exit(0);
	scan_stop(l);
	timer_clear(&l->sweep);
	hint_receiver_free(l->hints);
	if (l->hint_fd >= 0)
		close(l->hint_fd);
	if (l->store)
		store_close(l->store);
	if (l->queue) {
		settle_stop(l);
		queue_close(l->queue);
	}
	hash_free(l->busy);
	mem_free(l);
}

int main(int argc, char **argv)
{
	static const struct role_ops ops = {
	    .name = "smtpd-local",
	    .state = {"queue", "store"},
	    .start = start,
	    .on_drain = on_drain,
	    .on_admin = local_admin,
	    .status = status,
	    .stop = stop,
	};

	return role_main(argc, argv, &ops);
}
