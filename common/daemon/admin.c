/* The control socket of a role: status, reload, and the role's own verbs. */
#include "common/daemon/role_int.h"

#include "common/base/mem.h"
#include "common/event/clock.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define RECORD_MAX (64 * 1024)

void admin_record(const struct admin_request *rq, const struct strbuf *record)
{
	ipc_reply(rq->server, &rq->peer, rq->id, IPC_ADMIN_RECORD, strbuf_span(record));
}

void admin_end(const struct admin_request *rq, enum err_code code, const char *fmt, ...)
{
	struct strbuf text, body;
	va_list ap;

	strbuf_init(&text, 4096);
	strbuf_init(&body, 8192);
	va_start(ap, fmt);
	strbuf_vaddf(&text, fmt, ap);
	va_end(ap);
	ipc_enc_error(
	    &body, &(struct ipc_error){.code = (uint16_t)code, .text = strbuf_span(&text)});
	ipc_reply(rq->server, &rq->peer, rq->id, IPC_ADMIN_END, strbuf_span(&body));
	strbuf_clear(&text);
	strbuf_clear(&body);
}

/* Resident bytes, from the second number of /proc/self/statm; 0 if it cannot be read. */
static uint64_t resident_bytes(void)
{
	char buf[128];
	struct span text, word;
	uint64_t pages = 0;
	ssize_t n;
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	n = read(fd, buf, sizeof(buf));
	close(fd);
	text = span_make(buf, n > 0 ? (size_t)n : 0);
	if (!span_split(&text, ' ', &word) || !span_split(&text, ' ', &word) ||
	    !span_u64(word, UINT32_MAX, &pages))
		return 0;
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void process_record(struct frame *f, struct strbuf *b)
{
	ipc_rec_text(b, "process", span_of(f->role.ops->name));
	ipc_rec_number(b, "pid", IPC_NUMBER, (uint64_t)getpid());
	ipc_rec_number(b, "uid", IPC_NUMBER, (uint64_t)getuid());
	ipc_rec_number(b, "uptime", IPC_NUMBER, (clock_mono_ms() - f->started_ms) / 1000);
	ipc_rec_number(b, "memory", IPC_BYTES, resident_bytes());
	ipc_rec_number(b, "connections", IPC_NUMBER, limits_total(f->role.limits));
	if (f->role.ops->status)
		f->role.ops->status(&f->role, b);
}

static void listener_record(const struct bound *b, struct strbuf *out)
{
	const struct config_listener *l = b->pub.cfg;

	ipc_rec_text(out, "listener", span_of(l->name));
	ipc_rec_text(out, "address", span_of(l->address));
	ipc_rec_number(out, "port", IPC_NUMBER, l->port);
	ipc_rec_text(out, "role", span_of(listener_role_name(l->role)));
	ipc_rec_text(out, "tls", span_of(tls_stance_name(l->tls)));
	ipc_rec_text(out, "certificate", span_of(b->pub.tls ? l->certificate : ""));
	ipc_rec_number(out, "bound", IPC_BOOL, b->listeners[0] != NULL);
	ipc_rec_number(out, "connections", IPC_NUMBER, b->pub.current);
	ipc_rec_number(out, "accepted", IPC_NUMBER, b->pub.accepted);
}

static void answer_status(struct frame *f, const struct admin_request *rq)
{
	struct strbuf b;

	strbuf_init(&b, RECORD_MAX);
	process_record(f, &b);
	admin_record(rq, &b);
	LIST_EACH (it, &f->bound) {
		strbuf_reset(&b);
		listener_record(container_of(it, struct bound, link), &b);
		admin_record(rq, &b);
	}
	strbuf_clear(&b);
	admin_end(rq, ERR_NONE, "%s", "");
}

static void answer_reload(struct frame *f, const struct admin_request *rq)
{
	struct err err = ERR_INIT;

	if (frame_reload(f, &err) < 0)
		admin_end(rq, err.code, "%s: %s", f->role.ops->name, err.text);
	else
		admin_end(rq, ERR_NONE, "%s", "");
}

static void on_message(void *arg, const struct ipc_peer *peer, const struct ipc_msg *msg)
{
	struct frame *f = arg;
	struct admin_request rq = {.server = f->ctl, .peer = *peer, .id = msg->id};
	struct ipc_admin cmd;

	if (msg->type != IPC_ADMIN || !ipc_dec_admin(msg->body, &cmd) || cmd.count == 0)
		admin_end(&rq, ERR_INVALID, "malformed request");
	else if (cmd.count == 1 && span_eq(cmd.words[0], SPAN("status")))
		answer_status(f, &rq);
	else if (cmd.count == 1 && span_eq(cmd.words[0], SPAN("reload")))
		answer_reload(f, &rq);
	else if (f->role.ops->on_admin)
		f->role.ops->on_admin(&f->role, &cmd, &rq);
	else
		admin_end(&rq, ERR_UNSUPPORTED, "%s has no such verb", f->role.ops->name);
}

int ctl_open(struct frame *f, struct err *err)
{
	static const struct ipc_server_ops ops = {.on_message = on_message};
	char name[64], path[CONFIG_PATH_MAX];

	snprintf(name, sizeof(name), "%s/ctl", f->role.ops->name);
	if (config_run_path(f->role.cfg, name, path, err) < 0)
		return -1;
	f->ctl = ipc_server_new(f->role.loop, path, 0660, &ops, f, err);
	return f->ctl ? 0 : -1;
}
