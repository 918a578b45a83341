/* How a mail program connects: from the listeners of the configuration. */
#include "webadmin/web.h"

#include <qrencode.h>
#include <string.h>

/* Implicit TLS before STARTTLS (RFC 8314), and nothing that would send a password in the clear. */
static unsigned rank(const struct config_listener *l)
{
	switch (l->tls) {
	case TLS_IMPLICIT:
		return 3;
	case TLS_REQUIRED:
		return 2;
	case TLS_OFFERED:
		return 1;
	default:
		return 0;
	}
}

static const char *kind_of(const struct config_listener *l)
{
	switch (l->role) {
	case ROLE_IMAP:
		return "imap";
	case ROLE_POP3:
		return "pop3";
	case ROLE_SUBMISSION:
		return "smtp";
	default:
		return NULL;
	}
}

/* Before b in the list: by kind in the order imap, pop3, smtp, then the better one. */
static bool is_before(const struct client_server *a, const struct client_server *b)
{
	int kind = strcmp(a->kind, b->kind);

	if (kind != 0)
		return kind < 0;
	return rank(a->l) > rank(b->l);
}

size_t client_servers(const struct config *cfg, struct client_server out[CLIENT_SERVERS_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < config_listener_count(cfg); i++) {
		const struct config_listener *l = config_listener(cfg, i);
		struct client_server one = {kind_of(l), l};
		size_t at = n;

		if (!one.kind || !l->auth || rank(l) == 0 || n == CLIENT_SERVERS_MAX)
			continue;
		for (; at > 0 && is_before(&one, &out[at - 1]); at--)
			out[at] = out[at - 1];
		out[at] = one;
		n++;
	}
	return n;
}

static struct span tls_label(const struct config_listener *l)
{
	return l->tls == TLS_IMPLICIT ? text_of(TEXT_TLS_IMPLICIT) : text_of(TEXT_TLS_STARTTLS);
}

static struct span kind_label(const char *kind)
{
	if (strcmp(kind, "imap") == 0)
		return text_of(TEXT_INCOMING_IMAP);
	if (strcmp(kind, "pop3") == 0)
		return text_of(TEXT_INCOMING_POP3);
	return text_of(TEXT_OUTGOING);
}

void client_settings_table(struct html *h, const struct request *rq, struct span address)
{
	struct client_server s[CLIENT_SERVERS_MAX];
	size_t n = client_servers(rq->cfg, s);

	HTML(h, R("<p>"), L(CLIENT_LOGIN), R(" "));
	copy_box(h, address);
	HTML(h, R("</p>\n<div class=\"scroll\"><table>\n<tr><th></th><th>"), L(SERVER),
	    R("</th><th>"), L(PORT), R("</th><th>"), L(TLS), R("</th></tr>\n"));
	for (size_t i = 0; i < n; i++) {
		HTML(h, R("<tr><td>"), T(kind_label(s[i].kind)), R("</td><td>"));
		copy_box(h, span_of(s[i].l->hostname));
		HTML(h, R("</td><td>"), N(s[i].l->port), R("</td><td>"), T(tls_label(s[i].l)),
		    R("</td></tr>\n"));
	}
	HTML(h, R("</table></div>\n"));
}

/* A path of one square a module; the light margin of four belongs to the code. */
bool qr_svg(struct html *h, struct span text)
{
	char cstr[1024];
	QRcode *qr;

	if (text.n >= sizeof(cstr))
		return false;
	memcpy(cstr, text.p, text.n);
	cstr[text.n] = '\0';
	qr = QRcode_encodeString8bit(cstr, 0, QR_ECLEVEL_M);
	if (!qr)
		return false;
	strbuf_addf(&h->out,
	    "<svg class=\"qr\" role=\"img\" aria-label=\"QR code\" viewBox=\"0 0 %d %d\">"
	    "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/><path d=\"",
	    qr->width + 8, qr->width + 8);
	for (int y = 0; y < qr->width; y++)
		for (int x = 0; x < qr->width; x++)
			if (qr->data[y * qr->width + x] & 1)
				strbuf_addf(&h->out, "M%d %dh1v1h-1z", x + 4, y + 4);
	strbuf_add_str(&h->out, "\"/></svg>\n");
	QRcode_free(qr);
	return true;
}
