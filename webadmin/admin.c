#include "webadmin/web.h"

#include "common/ipc/ipc.h"

#include <unistd.h>

#define ANSWER_TIMEOUT_MS 70000
#define RECORDS_MAX 10000

static int add_record(struct request *rq, struct answer *a, struct span body, struct err *err)
{
	if (a->count == RECORDS_MAX)
		return 0;
	if (!a->records)
		a->records = arena_array(&rq->arena, RECORDS_MAX, sizeof(*a->records));
	if (!a->records || !arena_copy(&rq->arena, body, &a->records[a->count]))
		return err_set(err, ERR_LIMIT, "the answer is too large for one page");
	a->count++;
	return 0;
}

/* Reads records until the end frame. */
static int read_answer(struct request *rq, int fd, struct answer *a, struct err *err)
{
	struct strbuf buf;
	struct ipc_msg msg;
	struct ipc_error end;
	int result = -1;

	strbuf_init(&buf, IPC_BODY_MAX);
	for (;;) {
		if (ipc_sync_recv(fd, &buf, &msg, ANSWER_TIMEOUT_MS, err) < 0)
			goto out;
		if (msg.type != IPC_ADMIN_RECORD)
			break;
		if (add_record(rq, a, msg.body, err) < 0)
			goto out;
	}
	if ((msg.type != IPC_ADMIN_END && msg.type != IPC_ERROR) ||
	    !ipc_dec_error(msg.body, &end) || !arena_copy(&rq->arena, end.text, &a->text)) {
		err_set(err, ERR_INVALID, "the account service gave an answer that makes no sense");
		goto out;
	}
	a->code = end.code;
	result = 0;
out:
	strbuf_clear(&buf);
	return result;
}

int admin_call(struct request *rq, const struct command *cmd, struct answer *a, struct err *err)
{
	struct ipc_admin m = {.token = span_of(rq->token),
	    .client = rq->client,
	    .secret = cmd->secret,
	    .content = cmd->content};
	char path[CONFIG_PATH_MAX];
	struct strbuf body;
	int result = -1;
	int fd;

	*a = (struct answer){0};
	for (size_t i = 0; i < cmd->count && i < CALL_WORDS_MAX; i++)
		m.words[m.count++] = span_of(cmd->words[i]);
	if (config_run_path(rq->cfg, RUN_WEB_SOCK, path, err) < 0)
		return -1;
	fd = ipc_sync_connect(path, ANSWER_TIMEOUT_MS, err);
	if (fd < 0)
		return -1;
	strbuf_init(&body, IPC_BODY_MAX);
	ipc_enc_admin(&body, &m);
	if (!body.failed &&
	    ipc_sync_send(fd, IPC_ADMIN, 1, strbuf_span(&body), ANSWER_TIMEOUT_MS, err) == 0)
		result = read_answer(rq, fd, a, err);
	strbuf_clear(&body);
	close(fd);
	return result;
}

bool answer_value(const struct answer *a, size_t i, const char *name, struct ipc_value *v)
{
	struct dec d;

	if (i >= a->count)
		return false;
	d = dec_of(a->records[i]);
	while (ipc_rec_next(&d, v))
		if (span_eq(v->name, span_of(name)))
			return true;
	return false;
}

struct span answer_text(const struct answer *a, size_t i, const char *name)
{
	struct ipc_value v;

	return answer_value(a, i, name, &v) && v.type == IPC_TEXT ? v.text : span_make("", 0);
}

uint64_t answer_number(const struct answer *a, size_t i, const char *name)
{
	struct ipc_value v;

	return answer_value(a, i, name, &v) && v.type != IPC_TEXT ? v.number : 0;
}

bool admin_has(struct request *rq, const char *verb)
{
	struct err err = ERR_INIT;
	struct answer a;

	if (admin_call(rq, &WORDS("help"), &a, &err) < 0 || a.code != ERR_NONE)
		return false;
	for (size_t i = 0; i < a.count; i++)
		if (span_eq(answer_text(&a, i, "command"), span_of(verb)))
			return true;
	return false;
}

bool request_who(struct request *rq)
{
	struct err err = ERR_INIT;
	struct answer a;

	if (rq->token[0] == '\0' || admin_call(rq, &WORDS("whoami"), &a, &err) < 0 ||
	    a.code != ERR_NONE)
		return false;
	rq->user = answer_text(&a, 0, "address");
	rq->is_admin = answer_number(&a, 0, "admin") != 0;
	rq->has_mailbox = answer_number(&a, 0, "mailbox") != 0;
	rq->is_setup = span_eq(rq->user, SPAN("setup"));
	return true;
}
