/* Asking authd for a page, and acting on a form. */
#include "webadmin/web.h"

bool try_ask(struct request *rq, const struct command *cmd, struct answer *a)
{
	struct err err = ERR_INIT;

	if (admin_call(rq, cmd, a, &err) == 0)
		return true;
	page_error(rq, 503, TEXT_NO_AUTHD);
	return false;
}

bool ask(struct request *rq, const struct command *cmd, struct answer *a)
{
	if (!try_ask(rq, cmd, a))
		return false;
	if (a->code == ERR_NONE)
		return true;
	page_failed(rq, a->text, rq->is_admin ? "/" : "/me");
	return false;
}

/* path?done=word, or path&done=word where it has a query already. */
static void send_done(struct request *rq, const char *page, const char *done)
{
	struct strbuf b;
	const char *to;

	strbuf_init(&b, 1024);
	strbuf_add_str(&b, page);
	strbuf_add_chr(&b, span_chr(span_of(page), '?') < 0 ? '?' : '&');
	strbuf_addf(&b, "done=%s", done);
	to = b.failed ? NULL : arena_strdup(&rq->arena, strbuf_span(&b));
	strbuf_clear(&b);
	send_redirect(to ? to : "/", NULL);
}

void act(struct request *rq, const struct command *cmd, const char *page, const char *done)
{
	struct answer a;

	if (!try_ask(rq, cmd, &a))
		return;
	if (a.code != ERR_NONE)
		page_failed(rq, a.text, page);
	else
		send_done(rq, page, done);
}
