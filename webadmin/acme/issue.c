/* One certificate: is it due, keyd's request, uacme's answer, keyd again. */
#include "webadmin/acme/acme.h"

#include "common/ipc/ipc.h"
#include "common/ipc/msg.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define KEYD_MS 60000
#define CSR_MAX (64 * 1024)
#define CERT_MAX (256 * 1024)

/* What keyd says: of its first record that has it, the value called name. */
struct reply {
	const char *name;
	struct strbuf text;
	uint64_t number;
	bool is_there;
	const char *id; /* the record must be this certificate's; NULL: any */
};

static void look(struct reply *r, struct span record)
{
	struct dec d = dec_of(record);
	struct ipc_value v, wanted = {0};
	bool is_right = r->id == NULL, has = false;

	while (ipc_rec_next(&d, &v)) {
		if (r->id && span_eq(v.name, SPAN("id")) && span_eq(v.text, span_of(r->id)))
			is_right = true;
		if (span_eq(v.name, span_of(r->name))) {
			wanted = v;
			has = true;
		}
	}
	if (!is_right || !has || r->is_there)
		return;
	r->is_there = true;
	r->number = wanted.number;
	strbuf_add(&r->text, wanted.text);
}

static int read_end(int fd, struct reply *r, struct err *err)
{
	struct ipc_error end;
	struct ipc_msg msg;
	struct strbuf buf;
	int result;

	strbuf_init(&buf, IPC_BODY_MAX);
	while ((result = ipc_sync_recv(fd, &buf, &msg, KEYD_MS, err)) == 0 &&
	       msg.type == IPC_ADMIN_RECORD)
		if (r)
			look(r, msg.body);
	if (result == 0) {
		if (!ipc_dec_error(msg.body, &end))
			result = err_set(err, ERR_INVALID, "keyd gave an answer without sense");
		else if (end.code != ERR_NONE)
			result = err_set(err, end.code, "%.*s", SPAN_FMT(end.text));
	}
	strbuf_clear(&buf);
	return result;
}

static int ask_keyd(
    const struct config *cfg, const struct ipc_admin *cmd, struct reply *r, struct err *err)
{
	char path[CONFIG_PATH_MAX];
	struct strbuf body;
	int fd, result = -1;

	if (config_run_path(cfg, "keyd/ctl", path, err) < 0)
		return -1;
	fd = ipc_sync_connect(path, KEYD_MS, err);
	if (fd < 0)
		return -1;
	strbuf_init(&body, IPC_BODY_MAX);
	ipc_enc_admin(&body, cmd);
	if (!body.failed && ipc_sync_send(fd, IPC_ADMIN, 1, strbuf_span(&body), KEYD_MS, err) == 0)
		result = read_end(fd, r, err);
	strbuf_clear(&body);
	close(fd);
	return result;
}

static struct ipc_admin cert(const char *verb, const char *id)
{
	return (struct ipc_admin){
	    .words = {SPAN("cert"), span_of(verb), span_of(id)}, .count = id ? 3 : 2};
}

/* Whether the one that is served is good for longer; days is told. */
static bool is_fresh(const struct config *cfg, const char *id, uint64_t *days)
{
	struct reply origin = {.name = "origin", .id = id}, left = {.name = "days-left", .id = id};
	struct ipc_admin cmd = cert("list", NULL);
	struct err why = ERR_INIT;
	bool result = false;

	strbuf_init(&origin.text, 256);
	strbuf_init(&left.text, 256);
	if (ask_keyd(cfg, &cmd, &origin, &why) == 0 && ask_keyd(cfg, &cmd, &left, &why) == 0 &&
	    left.is_there && !span_starts(strbuf_span(&origin.text), SPAN("self"))) {
		*days = left.number;
		result = left.number > config_u64(cfg, SET_ACME_RENEW_DAYS);
	}
	strbuf_clear(&origin.text);
	strbuf_clear(&left.text);
	return result;
}

static int drop_request(const struct config *cfg, const char *id, struct err *err)
{
	struct ipc_admin cmd = cert("remove", id);

	cmd.words[cmd.count++] = SPAN("--pending");
	return ask_keyd(cfg, &cmd, NULL, err);
}

/* A request that a person made and waits for stays: this one gives up then. */
static int make_request(const struct config *cfg, const char *id, char *const names[],
    struct strbuf *csr, struct err *err)
{
	struct reply pem = {.name = "pem"};
	struct ipc_admin cmd = cert("csr", id);
	int result;

	for (size_t i = 0; names[i] && cmd.count < IPC_ADMIN_WORDS - 2; i++)
		cmd.words[cmd.count++] = span_of(names[i]);
	cmd.words[cmd.count++] = SPAN("--key");
	cmd.words[cmd.count++] = SPAN("ecdsa");
	strbuf_init(&pem.text, CSR_MAX);
	result = ask_keyd(cfg, &cmd, &pem, err);
	if (result == 0 && pem.text.n == 0)
		result = err_set(err, ERR_INVALID, "keyd made no request");
	if (result == 0)
		strbuf_add(csr, strbuf_span(&pem.text));
	strbuf_clear(&pem.text);
	return result;
}

static int hand_in(const struct config *cfg, const char *id, struct span chain, struct err *err)
{
	struct ipc_admin cmd = cert("answer", id);

	cmd.content = chain;
	cmd.words[cmd.count++] = SPAN("--install");
	/* An authority of one's own is none that the report could know. */
	if (config_str(cfg, SET_ACME_CA_FILE)[0])
		cmd.words[cmd.count++] = SPAN("--force");
	return ask_keyd(cfg, &cmd, NULL, err);
}

static int get_one(const struct config *cfg, const char *self, const char *id, char *const names[],
    struct err *err)
{
	struct strbuf csr, chain;
	struct err why = ERR_INIT;
	int result = -1;

	strbuf_init(&csr, CSR_MAX);
	strbuf_init(&chain, CERT_MAX);
	if (make_request(cfg, id, names, &csr, err) == 0) {
		if (client_run(cfg, self, id, strbuf_span(&csr), &chain, err) == 0 &&
		    hand_in(cfg, id, strbuf_span(&chain), err) == 0)
			result = 0;
		else
			(void)drop_request(cfg, id, &why);
	}
	strbuf_clear(&csr);
	strbuf_clear(&chain);
	return result;
}

void issue(const struct config *cfg, const char *self, const char *id, bool is_forced,
    char *const names[], int out_fd)
{
	struct err err = ERR_INIT;
	uint64_t days = 0;

	if (!is_forced && is_fresh(cfg, id, &days))
		dprintf(out_fd, "skip good for %llu days", (unsigned long long)days);
	else if (get_one(cfg, self, id, names, &err) < 0)
		dprintf(out_fd, "fail %s", err.text);
	else
		dprintf(out_fd, "ok installed");
}
