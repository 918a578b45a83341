/*
 * What mail programs ask for to set themselves up: Thunderbird's autoconfig, Outlook's
 * autodiscover, Apple's profile; and the MTA-STS policy (RFC 8461) for other servers. The same XML
 * escaping as for pages: HTML().
 */
#include "webadmin/web.h"

#include <stdio.h>
#include <string.h>

static void send_xml(struct html *h, const char *type, const char *filename)
{
	send_bytes(h->out.failed ? 500 : 200, type, filename, strbuf_span(&h->out));
	strbuf_clear(&h->out);
}

/* The domain behind "autoconfig." or "mail." of the host asked for, or of emailaddress=. */
static struct span domain_asked(const struct request *rq)
{
	struct span mail = request_query(rq, "emailaddress");
	ssize_t at = span_rchr(mail, '@');
	struct span host = rq->host;
	ssize_t colon = span_chr(host, ':');

	if (at >= 0)
		return span_from(mail, (size_t)at + 1);
	if (colon >= 0)
		host = span_sub(host, 0, (size_t)colon);
	if (span_istarts(host, SPAN("autoconfig.")))
		host = span_from(host, 11);
	return host;
}

static void autoconfig_server(struct html *h, const struct client_server *s)
{
	bool is_out = strcmp(s->kind, "smtp") == 0;

	if (is_out)
		HTML(h, R("<outgoingServer type=\"smtp\">"));
	else
		HTML(h, R("<incomingServer type=\""), S(s->kind), R("\">"));
	HTML(h, R("<hostname>"), S(s->l->hostname), R("</hostname><port>"), N(s->l->port),
	    R("</port><socketType>"), S(s->l->tls == TLS_IMPLICIT ? "SSL" : "STARTTLS"),
	    R("</socketType><authentication>password-cleartext</authentication>"
	      "<username>%EMAILADDRESS%</username>"));
	if (is_out)
		HTML(h, R("</outgoingServer>\n"));
	else
		HTML(h, R("</incomingServer>\n"));
}

void public_autoconfig(struct request *rq)
{
	struct client_server s[CLIENT_SERVERS_MAX];
	size_t n = client_servers(rq->cfg, s);
	struct span domain = domain_asked(rq);
	struct html h;

	html_init(&h);
	HTML(&h,
	    R("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<clientConfig version=\"1.1\">\n"
	      "<emailProvider id=\""),
	    T(domain), R("\">\n<domain>"), T(domain), R("</domain>\n<displayName>"), T(domain),
	    R("</displayName>\n"));
	for (size_t i = 0; i < n; i++)
		autoconfig_server(&h, &s[i]);
	HTML(&h, R("</emailProvider>\n</clientConfig>\n"));
	send_xml(&h, "text/xml; charset=utf-8", NULL);
}

static void autodiscover_server(struct html *h, const struct client_server *s, struct span mail)
{
	static const char *const types[][2] = {
	    {"imap", "IMAP"}, {"pop3", "POP3"}, {"smtp", "SMTP"}};
	const char *type = "";

	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (strcmp(types[i][0], s->kind) == 0)
			type = types[i][1];
	HTML(h, R("<Protocol><Type>"), S(type), R("</Type><Server>"), S(s->l->hostname),
	    R("</Server><Port>"), N(s->l->port),
	    R("</Port><DomainRequired>off</DomainRequired><LoginName>"), T(mail),
	    R("</LoginName><SPA>off</SPA><SSL>"), S(s->l->tls == TLS_IMPLICIT ? "on" : "off"),
	    R("</SSL><Encryption>"), S(s->l->tls == TLS_IMPLICIT ? "SSL" : "TLS"),
	    R("</Encryption><AuthRequired>on</AuthRequired></Protocol>\n"));
}

/* The address in <EMailAddress>...</EMailAddress>: all that is looked at in the request. */
static struct span address_asked(struct span xml)
{
	ssize_t at = span_find(xml, SPAN("<EMailAddress>"));
	struct span rest = at < 0 ? SPAN("") : span_from(xml, (size_t)at + 14);
	ssize_t end = span_chr(rest, '<');

	return end < 0 || end > 320 ? SPAN("") : span_trim(span_sub(rest, 0, (size_t)end));
}

void public_autodiscover(struct request *rq)
{
	struct client_server s[CLIENT_SERVERS_MAX];
	size_t n = client_servers(rq->cfg, s);
	struct span mail = address_asked(rq->body);
	struct html h;

	html_init(&h);
	HTML(&h,
	    R("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<Autodiscover "
	      "xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006\">\n"
	      "<Response "
	      "xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/outlook/"
	      "responseschema/2006a\">\n<Account><AccountType>email</AccountType>"
	      "<Action>settings</Action>\n"));
	for (size_t i = 0; i < n; i++)
		autodiscover_server(&h, &s[i], mail);
	HTML(&h, R("</Account></Response></Autodiscover>\n"));
	send_xml(&h, "text/xml; charset=utf-8", NULL);
}

/* --- Apple
 * ----------------------------------------------------------------------------------------- */
static const struct client_server *first_of(
    const struct client_server *s, size_t n, const char *kind)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(s[i].kind, kind) == 0)
			return &s[i];
	return NULL;
}

void mobileconfig_form(
    struct html *h, const struct request *rq, struct span address, struct span password)
{
	struct client_server s[CLIENT_SERVERS_MAX];
	size_t n = client_servers(rq->cfg, s);

	if (!first_of(s, n, "imap") || !first_of(s, n, "smtp"))
		return;
	HTML(h, R("<p>"), L(APPLE_HINT), R("</p>\n"));
	form_begin(h, rq, "/mobileconfig");
	hidden(h, "address", address);
	hidden(h, "password", password);
	form_end(h, TEXT_APPLE_DOWNLOAD);
}

static void plist_server(struct html *h, const char *prefix, const struct config_listener *l,
    struct span address, struct span password)
{
	HTML(h, R("<key>"), S(prefix), R("HostName</key><string>"), S(l->hostname),
	    R("</string><key>"), S(prefix), R("PortNumber</key><integer>"), N(l->port),
	    R("</integer><key>"), S(prefix), R("UseSSL</key><true/><key>"), S(prefix),
	    R("Authentication</key><string>EmailAuthPassword</string><key>"), S(prefix),
	    R("Username</key><string>"), T(address));
	HTML(h, R("</string>\n"));
	if (strcmp(prefix, "IncomingMailServer") == 0)
		HTML(h, R("<key>IncomingPassword</key><string>"), T(password),
		    R("</string><key>OutgoingPasswordSameAsIncomingPassword</key><true/>\n"));
}

static void plist_ids(struct html *h, struct span address, const char *what)
{
	HTML(h, R("<key>PayloadIdentifier</key><string>mailstead."), S(what), R("."), T(address),
	    R("</string><key>PayloadUUID</key><string>"), S(what), R("-"), T(address),
	    R("</string><key>PayloadVersion</key><integer>1</integer>\n"));
}

void action_mobileconfig(struct request *rq)
{
	struct client_server s[CLIENT_SERVERS_MAX];
	size_t n = client_servers(rq->cfg, s);
	const struct client_server *in = first_of(s, n, "imap"), *out = first_of(s, n, "smtp");
	struct span address = request_form(rq, "address"), password = request_form(rq, "password");
	struct html h;

	if (!in || !out || address.n == 0) {
		page_error(rq, 404, TEXT_NO_PAGE);
		return;
	}
	html_init(&h);
	HTML(&h,
	    R("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple//DTD "
	      "PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n"
	      "<plist version=\"1.0\"><dict>\n<key>PayloadContent</key><array><dict>\n"
	      "<key>PayloadType</key><string>com.apple.mail.managed</string>\n"
	      "<key>EmailAccountType</key><string>EmailTypeIMAP</string>"
	      "<key>EmailAddress</key><string>"),
	    T(address), R("</string><key>EmailAccountName</key><string>"), T(address),
	    R("</string>\n"));
	plist_server(&h, "IncomingMailServer", in->l, address, password);
	plist_server(&h, "OutgoingMailServer", out->l, address, password);
	plist_ids(&h, address, "account");
	HTML(&h, R("<key>PayloadDisplayName</key><string>"), T(address),
	    R("</string></dict></array>\n<key>PayloadType</key><string>Configuration</string>"
	      "<key>PayloadDisplayName</key><string>"),
	    T(address), R("</string>\n"));
	plist_ids(&h, address, "profile");
	HTML(&h, R("</dict></plist>\n"));
	send_xml(&h, "application/x-apple-aspen-config", "mailstead.mobileconfig");
}

/* --- MTA-STS: for the domain behind "mta-sts."
 * ----------------------------------------------------- */
void public_mta_sts(struct request *rq)
{
	struct html h;

	if (!span_istarts(rq->host, SPAN("mta-sts."))) {
		page_error(rq, 404, TEXT_NO_PAGE);
		return;
	}
	html_init(&h);
	HTML(&h, R("version: STSv1\r\nmode: testing\r\nmx: "),
	    S(config_str(rq->cfg, SET_SERVER_HOSTNAME)), R("\r\nmax_age: 604800\r\n"));
	send_xml(&h, "text/plain; charset=utf-8", NULL);
}
