#include "common/daemon/keys.h"

#include "common/base/mem.h"
#include "common/event/clock.h"

#include <time.h>
#include <unistd.h>

#define START_MS 5000 /* for keyd to come up */
#define AGAIN_MS 50
#define WATCH_MS 300000

void keys_buf_init(struct strbuf *b)
{
	strbuf_init(b, IPC_BODY_MAX);
	(void)strbuf_room(b, IPC_BODY_MAX);
}

void keys_buf_clear(struct strbuf *b)
{
	mem_wipe(b->p, b->cap);
	strbuf_clear(b);
}

/* --- asking ----------------------------------------------------------------------------------- */
static int add_id(struct ipc_key_fetch *f, struct span id, struct err *err)
{
	for (uint32_t i = 0; i < f->count; i++)
		if (span_eq(f->ids[i], id))
			return 0;
	if (f->count == IPC_KEY_IDS_MAX)
		return err_set(
		    err, ERR_LIMIT, "listeners use more than %d certificates", IPC_KEY_IDS_MAX);
	f->ids[f->count++] = id;
	return 0;
}

int keys_request(const struct config *cfg, unsigned roles, const char *purpose,
    struct strbuf *request, uint32_t *count, struct err *err)
{
	struct ipc_key_fetch f = {.purpose = span_of(purpose)};

	for (size_t i = 0; i < config_listener_count(cfg); i++) {
		const struct config_listener *l = config_listener(cfg, i);
		struct span list = span_of(l->certificates);
		struct span id;

		if (!(roles & (1u << l->role)) || l->tls == TLS_NONE)
			continue;
		while (config_list_next(&list, &id))
			if (add_id(&f, id, err) < 0)
				return err_wrap(err, "listener %s", l->name);
	}
	strbuf_init(request, KEYS_REQUEST_MAX);
	ipc_enc_key_fetch(request, &f);
	*count = f.count;
	return 0;
}

/* keyd starts beside us, or was started again a moment ago. */
static int connect_patiently(const char *path, struct err *err)
{
	uint64_t end = clock_mono_ms() + START_MS;
	struct timespec pause = {.tv_nsec = AGAIN_MS * 1000000L};
	int fd;

	while ((fd = ipc_sync_connect(path, KEYS_ANSWER_MS, err)) < 0) {
		if (clock_mono_ms() >= end)
			return err_wrap(err, "keyd");
		(void)nanosleep(&pause, NULL);
	}
	return fd;
}

int keys_check(const struct ipc_msg *msg, struct err *err)
{
	struct ipc_key_set set;
	struct ipc_error error;

	if (msg->type == IPC_KEY_SET && ipc_dec_key_set(msg->body, &set))
		return 0;
	if (msg->type == IPC_ERROR && ipc_dec_error(msg->body, &error) && error.code != ERR_NONE)
		return err_set(err, (enum err_code)error.code, "keyd: %.*s",
		    error.text.n < 200 ? (int)error.text.n : 200, error.text.p);
	return err_set(err, ERR_INVALID, "keyd gave an answer that makes no sense");
}

int keys_fetch(const struct config *cfg, struct span request, struct strbuf *set, struct err *err)
{
	char path[CONFIG_PATH_MAX];
	struct ipc_msg msg;
	int result = -1;
	int fd;

	if (config_run_path(cfg, RUN_KEYD_SOCK, path, err) < 0)
		return -1;
	fd = connect_patiently(path, err);
	if (fd < 0)
		return -1;
	if (ipc_sync_send(fd, IPC_KEY_FETCH, 1, request, KEYS_ANSWER_MS, err) == 0 &&
	    ipc_sync_recv(fd, set, &msg, KEYS_ANSWER_MS, err) == 0)
		result = keys_check(&msg, err);
	close(fd);
	return result;
}

/* --- changes ---------------------------------------------------------------------------------- */
struct keys_watch {
	struct ipc_client *client; /* borrowed */
	struct ipc_call *call;
	struct timer again;
	uint64_t generation; /* that is known */
	void (*on_change)(void *arg, uint64_t generation);
	void *arg;
};

static void on_changed(void *arg, const struct ipc_msg *msg, const struct err *err)
{
	struct keys_watch *w = arg;
	uint64_t generation;

	w->call = NULL;
	if (msg && msg->type == IPC_KEY_CHANGED && ipc_dec_generation(msg->body, &generation) &&
	    generation != w->generation)
		w->on_change(w->arg, generation);
	else
		timer_set(&w->again, AGAIN_MS);
}

static void wait_for_change(void *arg)
{
	struct keys_watch *w = arg;
	struct strbuf body;

	strbuf_init(&body, 16);
	ipc_enc_generation(&body, w->generation);
	w->call = ipc_call(w->client, IPC_KEY_WATCH, strbuf_span(&body), WATCH_MS, on_changed, w);
	strbuf_clear(&body);
}

struct keys_watch *keys_watch_new(struct loop *loop, struct ipc_client *keyd,
    void (*on_change)(void *arg, uint64_t generation), void *arg)
{
	struct keys_watch *w = mem_zalloc(sizeof(*w));

	w->client = keyd;
	w->on_change = on_change;
	w->arg = arg;
	timer_init(&w->again, loop, wait_for_change, w);
	return w;
}

void keys_watch_from(struct keys_watch *w, uint64_t generation)
{
	if (w->call)
		ipc_call_cancel(w->call);
	timer_stop(&w->again);
	w->generation = generation;
	wait_for_change(w);
}

void keys_watch_free(struct keys_watch *w)
{
	if (!w)
		return;
	if (w->call)
		ipc_call_cancel(w->call);
	timer_clear(&w->again);
	mem_free(w);
}
