/* Answers of the admin plane, by roles and monitors. */
#include "common/daemon/answer.h"

#include "common/event/clock.h"
#include "common/ipc/msg.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

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

void admin_process(struct strbuf *b, const char *name, uint64_t started_ms)
{
	ipc_rec_text(b, "process", span_of(name));
	ipc_rec_number(b, "pid", IPC_NUMBER, (uint64_t)getpid());
	ipc_rec_number(b, "uid", IPC_NUMBER, (uint64_t)getuid());
	ipc_rec_number(b, "uptime", IPC_NUMBER, (clock_mono_ms() - started_ms) / 1000);
	ipc_rec_number(b, "memory", IPC_BYTES, resident_bytes());
}

void admin_listener(struct strbuf *b, const struct config_listener *l)
{
	ipc_rec_text(b, "listener", span_of(l->name));
	ipc_rec_text(b, "address", span_of(l->address));
	ipc_rec_number(b, "port", IPC_NUMBER, l->port);
	ipc_rec_text(b, "role", span_of(listener_role_name(l->role)));
	ipc_rec_text(b, "tls", span_of(tls_stance_name(l->tls)));
	ipc_rec_text(b, "certificate", span_of(l->tls == TLS_NONE ? "" : l->certificates));
}

bool peer_is(const struct config *cfg, const struct ipc_peer *peer, const char *program)
{
	char path[CONFIG_PATH_MAX];
	struct stat st;

	return config_run_path(cfg, program, path, NULL) == 0 && stat(path, &st) == 0 &&
	       st.st_uid == peer->uid;
}

bool admin_may(const struct config *cfg, const struct ipc_peer *peer)
{
	return peer->uid == 0 || peer->uid == getuid() || peer_is(cfg, peer, "authd");
}
