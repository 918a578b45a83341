/* The CGI's entrance: one table says what exists, by which method, and who may. */
#include "webadmin/web.h"

#include <stdlib.h>
#include <unistd.h>

enum who {
	PUBLIC, /* anybody */
	SETUP,  /* the session of the setup code, and administrators */
	USER,   /* any session of an account */
	ADMIN,
};

#define POST 1u   /* changes something: POST with the form's token, never GET */
#define ANYHOW 2u /* POST without a form: what mail programs ask for */

struct route {
	struct span path;
	enum who who;
	unsigned flags;
	void (*run)(struct request *rq);
};

static const struct route routes[] = {
#define GET_PAGE(path, who, fn) {SPAN_INIT(path), who, 0, fn},
#define POST_FORM(path, who, fn) {SPAN_INIT(path), who, POST, fn},
#define POST_ANYHOW(path, who, fn) {SPAN_INIT(path), who, POST | ANYHOW, fn},
#include "webadmin/routes.def"
};

static const struct route *find_route(const struct request *rq)
{
	for (size_t i = 0; i < ARRAY_LEN(routes); i++)
		if (span_eq(routes[i].path, rq->path) && rq->is_post == !!(routes[i].flags & POST))
			return &routes[i];
	return NULL;
}

static bool may(const struct request *rq, enum who who)
{
	switch (who) {
	case PUBLIC:
		return true;
	case SETUP:
		return rq->is_setup || rq->is_admin;
	case USER:
		return rq->user.n > 0 && !rq->is_setup;
	default:
		return rq->is_admin && !rq->is_setup;
	}
}

/* Who came without a session: to the setup while there is no administrator, else to sign in. */
static void send_away(struct request *rq)
{
	struct err err = ERR_INIT;
	struct answer a;

	if (rq->is_setup)
		send_redirect("/setup", NULL);
	else if (rq->user.n > 0 && !rq->is_post && span_eq(rq->path, SPAN("/")))
		send_redirect("/me", NULL);
	else if (rq->user.n > 0)
		page_error(rq, 403, TEXT_NOT_ALLOWED);
	else if (admin_call(rq, &WORDS("setup", "status"), &a, &err) < 0)
		page_error(rq, 503, TEXT_NO_AUTHD);
	else
		send_redirect(answer_number(&a, 0, "needed") ? "/setup" : "/login", NULL);
}

static void dispatch(struct request *rq)
{
	const struct route *r = find_route(rq);

	if (!r) {
		page_error(rq, 404, TEXT_NO_PAGE);
		return;
	}
	if (r->who != PUBLIC)
		request_who(rq);
	else if (rq->is_post)
		rq->token[0] = '\0'; /* their forms belong to no session, whatever cookie came */
	if (!may(rq, r->who))
		send_away(rq);
	else if ((r->flags & POST) && !(r->flags & ANYHOW) && !csrf_is_right(rq))
		page_error(rq, 403, TEXT_OLD_FORM);
	else
		r->run(rq);
}

int main(void)
{
	static struct request rq;
	const char *conf = getenv("MAILSTEAD_CONF");
	struct err err = ERR_INIT;

	alarm(60);
	if (config_load(conf ? conf : "/etc/mailstead/mailstead.conf", &rq.cfg, &err) < 0)
		page_error(&rq, 500, TEXT_NO_CONF);
	else if (request_read(&rq, &err) < 0)
		page_error(&rq,
		    err.code == ERR_LIMIT         ? 413
		    : err.code == ERR_UNSUPPORTED ? 405
						  : 400,
		    TEXT_BAD_REQUEST);
	else
		dispatch(&rq);
	config_unref(rq.cfg);
	arena_clear(&rq.arena);
	return 0;
}
