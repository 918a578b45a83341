#include "webadmin/web.h"

#include "common/ipc/ipc.h"

#include <unistd.h>

#define ANSWER_TIMEOUT_MS 20000
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

int admin_call(struct request *rq, const char *const *words, size_t count, struct span secret,
    struct answer *a, struct err *err)
{
	struct ipc_admin cmd = {
	    .token = span_of(rq->token), .client = rq->client, .secret = secret};
	char path[CONFIG_PATH_MAX];
	struct strbuf body;
	int result = -1;
	int fd;

	*a = (struct answer){0};
	for (size_t i = 0; i < count && i < IPC_ADMIN_WORDS; i++)
		cmd.words[cmd.count++] = span_of(words[i]);
	if (config_run_path(rq->cfg, RUN_WEB_SOCK, path, err) < 0)
		return -1;
	fd = ipc_sync_connect(path, ANSWER_TIMEOUT_MS, err);
	if (fd < 0)
		return -1;
	strbuf_init(&body, IPC_BODY_MAX);
	ipc_enc_admin(&body, &cmd);
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
