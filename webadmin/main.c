/* The CGI's entrance: one table says what exists, by which method, and who may. */
#include "webadmin/web.h"

#include "common/base/mem.h"

#include <stdlib.h>
#include <unistd.h>

#define PUBLIC 1u /* before login too */
#define POST 2u   /* changes something: POST with the form's token, never GET */

struct route {
	struct span path;
	unsigned flags;
	void (*run)(struct request *rq);
};

static const struct route routes[] = {
    {SPAN_INIT("/login"), PUBLIC, page_login},
    {SPAN_INIT("/login"), PUBLIC | POST, action_login},
    {SPAN_INIT("/logout"), POST, action_logout},
    {SPAN_INIT("/"), 0, page_home},
    {SPAN_INIT("/accounts"), 0, page_accounts},
    {SPAN_INIT("/accounts/add"), POST, action_account_add},
    {SPAN_INIT("/accounts/remove"), POST, action_account_remove},
    {SPAN_INIT("/domains"), 0, page_domains},
    {SPAN_INIT("/domains/add"), POST, action_domain_add},
    {SPAN_INIT("/domains/remove"), POST, action_domain_remove},
    {SPAN_INIT("/aliases"), 0, page_aliases},
    {SPAN_INIT("/aliases/add"), POST, action_alias_add},
    {SPAN_INIT("/aliases/remove"), POST, action_alias_remove},
    {SPAN_INIT("/ports"), 0, page_ports},
    {SPAN_INIT("/ports/set"), POST, action_set},
    {SPAN_INIT("/queue"), 0, page_queue},
    {SPAN_INIT("/password"), 0, page_password},
    {SPAN_INIT("/password/change"), POST, action_password},
};

static const struct route *find_route(const struct request *rq)
{
	for (size_t i = 0; i < ARRAY_LEN(routes); i++)
		if (span_eq(routes[i].path, rq->path) && rq->is_post == !!(routes[i].flags & POST))
			return &routes[i];
	return NULL;
}

static void dispatch(struct request *rq)
{
	const struct route *r = find_route(rq);

	if (!rq->is_post && span_eq(rq->path, SPAN("/style.css")))
		send_file_css();
	else if (!r)
		page_error(rq, 404, "There is no such page.");
	else if (!(r->flags & PUBLIC) && rq->token[0] == '\0')
		send_redirect("/login", NULL);
	else if ((r->flags & POST) && !csrf_is_right(rq))
		page_error(rq, 403, "This form is out of date. Open the page again.");
	else
		r->run(rq);
}

int main(void)
{
	static struct request rq;
	const char *conf = getenv("MAILSTEAD_CONF");
	struct err err = ERR_INIT;

	alarm(60);
	if (config_load(conf ? conf : MS_CONF, &rq.cfg, &err) < 0)
		page_error(&rq, 500, "The configuration cannot be read.");
	else if (request_read(&rq, &err) < 0)
		page_error(&rq,
		    err.code == ERR_LIMIT         ? 413
		    : err.code == ERR_UNSUPPORTED ? 405
						  : 400,
		    err.text);
	else
		dispatch(&rq);
	config_unref(rq.cfg);
	arena_clear(&rq.arena);
	return 0;
}
