#include "smtpd/send/session.h"

#include "common/base/mem.h"
#include "common/log/log.h"

#define SYSTEM_AUTHORITIES "/etc/ssl/certs/ca-certificates.crt"

static const char *file_of(const struct send *s)
{
	const char *file = config_str(s->role->cfg, SET_TLS_CA_FILE);

	return file[0] ? file : SYSTEM_AUTHORITIES;
}

/* Without them, verified TLS is just not to be had. */
static void take(struct send *s)
{
	struct authorities *a = &s->authorities;

	s->verified = a->made;
	a->is_loaded = true;
	if (!s->verified)
		log_warning("tls-authorities", LOG_ERR(&a->err));
}

struct tls_context *authorities_load(const struct send *s, struct err *err)
{
	return tls_client_context_new(file_of(s), err);
}

static void run(struct work *w)
{
	struct authorities *a = container_of(w, struct authorities, work);
	struct send *s = container_of(a, struct send, authorities);

	a->made = authorities_load(s, &a->err);
}

static void done(struct work *w)
{
	struct authorities *a = container_of(w, struct authorities, work);
	struct list *it;

	take(container_of(a, struct send, authorities));
	while ((it = list_take_first(&a->waiting)))
		session_handshake(container_of(it, struct session, await));
}

void authorities_init(struct send *s)
{
	list_init(&s->authorities.waiting);
	if (config_str(s->role->cfg, SET_TLS_CA_FILE)[0] == '\0')
		return;
	run(&s->authorities.work);
	take(s);
}

bool authorities_await(struct session *c)
{
	struct send *s = c->send;
	struct authorities *a = &s->authorities;

	if (a->is_loaded)
		return true;
	list_append(&a->waiting, &c->await);
	if (!a->is_loading) {
		a->is_loading = true;
		a->work = (struct work){.run = run, .done = done};
		workers_submit(queue_workers(s->queue), &a->work);
	}
	return false;
}
