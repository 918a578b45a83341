/* authd: a role without listeners, and three sockets of its own. */
#include "common/authd/call.h"
#include "common/authd/dns.h"
#include "common/authd/removal.h"
#include "common/authd/revert.h"
#include "common/authd/sending.h"
#include "common/authd/session.h"
#include "common/authd/settings.h"
#include "common/base/mem.h"
#include "common/event/clock.h"

#define BUCKETS_MAX 65536
#define SETUP_BUCKETS_MAX 4096
#define FORWARD_THREADS 4
#define SAVE_MS 10000
#define SWEEP_MS (10 * 60 * 1000)

void authd_status(const struct authd *a, struct strbuf *record)
{
	ipc_rec_number(record, "domains", IPC_NUMBER, hash_count(a->index.domains));
	ipc_rec_number(record, "accounts", IPC_NUMBER, hash_count(a->index.accounts));
	ipc_rec_number(record, "aliases", IPC_NUMBER, hash_count(a->index.aliases));
	ipc_rec_number(record, "logins", IPC_NUMBER, a->counts.good);
	ipc_rec_number(record, "logins-failed", IPC_NUMBER, a->counts.failed);
	ipc_rec_number(record, "logins-throttled", IPC_NUMBER, a->counts.throttled);
	ipc_rec_number(record, "logins-temporary", IPC_NUMBER, a->counts.temporary);
	ipc_rec_number(record, "logins-waiting", IPC_NUMBER, hashq_waiting(a->hashq));
	ipc_rec_number(record, "password-hashes", IPC_NUMBER, hashq_started(a->hashq));
	ipc_rec_number(record, "web-sessions", IPC_NUMBER, session_count(a->sessions));
}

static void on_sweep(void *arg)
{
	struct authd *a = arg;

	session_sweep(a);
	timer_set(&a->sweep, SWEEP_MS);
}

static void on_save(void *arg)
{
	struct authd *a = arg;

	sendings_save(a);
	timer_set(&a->save, SAVE_MS);
}

static void on_hangup_again(void *arg)
{
	settings_hangup(arg);
}

static void on_hangup(struct role *r)
{
	settings_hangup(r->ctx);
}

static int start(struct role *r, struct err *err)
{
	struct authd *a = mem_zalloc(sizeof(*a));

	r->ctx = a;
	a->role = r;
	a->loop = r->loop;
	a->started_ms = clock_mono_ms();
	list_init(&a->changes);
	authd_take_config(a, config_ref(r->cfg));
	a->throttle = throttle_new(BUCKETS_MAX);
	a->setup_throttle = throttle_new(SETUP_BUCKETS_MAX);
	a->good = good_logins_new();
	a->sendings = sendings_new();
	if (state_open(a, err) < 0)
		return -1;
	a->hashq = hashq_new(a->loop, (unsigned)config_u64(a->cfg, SET_AUTH_HASH_THREADS));
	a->files = workers_new(a->loop, 1, "files");
	a->forwarders = workers_new(a->loop, FORWARD_THREADS, "forward");
	timer_init(&a->sweep, a->loop, on_sweep, a);
	on_sweep(a);
	timer_init(&a->save, a->loop, on_save, a);
	timer_set(&a->save, SAVE_MS);
	timer_init(&a->hangup, a->loop, on_hangup_again, a);
	if (revert_open(a, err) < 0 || auth_server_open(a, err) < 0)
		return -1;
	if (admin_server_open(a, err) < 0)
		return -1;
	dkim_watch_open(a);
	removal_open(a);
	upgrade_open(a);
	return 0;
}

static void on_reload(struct role *r)
{
	authd_take_config(r->ctx, config_ref(r->cfg));
	removal_look(r->ctx);
}

static void on_drain(struct role *r)
{
	struct authd *a = r->ctx;

	if (a->call_count == 0)
		role_finished(r);
}

/* Threads end first, while there still is somebody to send their results to. */
static void stop(struct role *r)
{
	struct authd *a = r->ctx;

	if (!a)
		return;
	call_drop_all(a);
	if (a->sweep.loop)
		timer_clear(&a->sweep);
	if (a->save.loop) {
		sendings_save(a);
		timer_clear(&a->save);
	}
	if (a->hangup.loop)
		timer_clear(&a->hangup);
	revert_close(a);
	dkim_watch_close(a);
	removal_close(a);
	upgrade_close(a);
	hashq_free(a->hashq);
	if (a->forwarders)
		workers_free(a->forwarders);
	if (a->files)
		workers_free(a->files);
	state_close(a);
	if (a->web)
		ipc_server_free(a->web);
	if (a->admin)
		ipc_server_free(a->admin);
	if (a->auth)
		ipc_server_free(a->auth);
	sendings_free(a->sendings);
	good_logins_free(a->good);
	throttle_free(a->throttle);
	throttle_free(a->setup_throttle);
	config_unref(a->cfg);
	mem_free(a);
}

static void status(struct role *r, struct strbuf *record)
{
	authd_status(r->ctx, record);
}

int main(int argc, char **argv)
{
	static const struct role_ops ops = {
	    .name = "authd",
	    .reads_config = true,
	    .state = {"auth", "conf"},
	    .start = start,
	    .on_reload = on_reload,
	    .on_hangup = on_hangup,
	    .on_drain = on_drain,
	    .stop = stop,
	    .status = status,
	};

	return role_main(argc, argv, &ops);
}
