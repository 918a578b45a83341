/* Logging in at a smarthost (RFC 4954): PLAIN, or LOGIN where that is all there is. */
#include "smtpd/send/session.h"

#include "common/base/base64.h"
#include "common/base/mem.h"

#define COMMAND_MS 300000

/* Credentials leave no trace in memory or log. */
static void say_secret(struct session *c, const char *command, struct span secret)
{
	struct strbuf b;

	strbuf_init(&b, 4096);
	strbuf_add_str(&b, command);
	base64_encode(&b, secret);
	strbuf_add_str(&b, "\r\n");
	conn_set_deadline(c->conn, COMMAND_MS);
	conn_write(c->conn, strbuf_span(&b));
	mem_wipe(b.p, b.n);
	strbuf_clear(&b);
}

static void say_plain(struct session *c, const struct relay *relay)
{
	struct strbuf b;

	strbuf_init(&b, 4096);
	strbuf_add_chr(&b, '\0');
	strbuf_add_str(&b, relay->user);
	strbuf_add_chr(&b, '\0');
	strbuf_add_str(&b, relay->password);
	say_secret(c, "AUTH PLAIN ", strbuf_span(&b));
	mem_wipe(b.p, b.n);
	strbuf_clear(&b);
}

void auth_start(struct session *c, const struct relay *relay)
{
	if (!conn_is_tls(c->conn)) {
		session_broken(c, 451, "4.7.0 no TLS to log in over");
	} else if (c->caps & CAP_AUTH_PLAIN) {
		c->step = STEP_AUTH;
		say_plain(c, relay);
	} else if (c->caps & CAP_AUTH_LOGIN) {
		c->step = STEP_LOGIN_USER;
		conn_set_deadline(c->conn, COMMAND_MS);
		conn_write(c->conn, SPAN("AUTH LOGIN\r\n"));
	} else {
		session_broken(c, 451, "4.7.0 it offers neither AUTH PLAIN nor LOGIN");
	}
}

void auth_reply(struct session *c, const struct reply *r)
{
	const struct relay *relay = session_relay(c);

	if (c->step == STEP_AUTH && r->code == 235) {
		transfer_start(c);
	} else if (c->step == STEP_LOGIN_USER && r->code == 334) {
		c->step = STEP_LOGIN_PASSWORD;
		say_secret(c, "", span_of(relay->user));
	} else if (c->step == STEP_LOGIN_PASSWORD && r->code == 334) {
		c->step = STEP_AUTH;
		say_secret(c, "", span_of(relay->password));
	} else {
		/* It is the administrator's to put right: the mail waits. */
		session_broken(c, 451, "4.7.8 the login was refused: %s", r->text);
	}
}
