/* Commands about the session itself: CAPABILITY, NOOP, CHECK, LOGOUT, ID, STARTTLS,
 * COMPRESS, ENABLE, NAMESPACE. */
#include "common/log/log.h"
#include "imapd/imap.h"

#define ID_PAIRS_MAX 30 /* RFC 2971 section 3.3 */

void write_capabilities(struct session *s, struct strbuf *b)
{
	strbuf_add_str(b, "IMAP4rev1 LITERAL+ SASL-IR ID");
	if (s->state == NOT_AUTHENTICATED) {
		if (s->listener->tls && !conn_is_tls(s->conn))
			strbuf_add_str(b, " STARTTLS");
		strbuf_add_str(
		    b, session_may_login(s) ? " AUTH=PLAIN AUTH=LOGIN" : " LOGINDISABLED");
		return;
	}
	strbuf_add_str(b,
	    " ENABLE IDLE NAMESPACE UNSELECT CHILDREN SPECIAL-USE CREATE-SPECIAL-USE LIST-EXTENDED"
	    " LIST-STATUS STATUS=SIZE UIDPLUS MOVE MULTIAPPEND REPLACE CONDSTORE QRESYNC"
	    " UTF8=ACCEPT"
	    " BINARY ESEARCH SEARCHRES WITHIN SORT SORT=DISPLAY ESORT"
	    " THREAD=REFERENCES THREAD=ORDEREDSUBJECT"
	    " PREVIEW SAVEDATE OBJECTID QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE");
	if (!conn_is_compressed(s->conn))
		strbuf_add_str(b, " COMPRESS=DEFLATE");
	strbuf_addf(
	    b, " APPENDLIMIT=%llu", (unsigned long long)config_u64(s->cfg, SET_SMTP_MESSAGE_MAX));
}

void cmd_capability(struct session *s, struct parser *p)
{
	struct strbuf b;

	strbuf_init(&b, 4096);
	write_capabilities(s, &b);
	untagged(s, "CAPABILITY %s", b.p);
	strbuf_clear(&b);
	finish(s, "OK Capabilities told");
}

void cmd_noop(struct session *s, struct parser *p)
{
	finish_refresh(s, true, "OK Nothing done");
}

/* Everything is on disk already: news is all that is left to ask for. */
void cmd_check(struct session *s, struct parser *p)
{
	finish_refresh(s, true, "OK Checked");
}

void cmd_logout(struct session *s, struct parser *p)
{
	session_bye(s, "Logging out");
	finish(s, "OK Goodbye");
}

/* NIL, or a list of names and values. False: not of this form. */
static bool parse_id(struct session *s, struct parser *p)
{
	struct span name, value, client = {NULL, 0}, version = {NULL, 0};
	size_t pairs = 0;

	if (span_take_iword(&p->in, SPAN("NIL")))
		return parse_end(p);
	if (!parse_chr(p, '('))
		return false;
	while (!parse_chr(p, ')')) {
		if ((pairs > 0 && !parse_sp(p)) || ++pairs > ID_PAIRS_MAX ||
		    !parse_string(p, &name) || !parse_sp(p) || !parse_nstring(p, &value))
			return false;
		if (span_ieq(name, SPAN("name")))
			client = value;
		else if (span_ieq(name, SPAN("version")))
			version = value;
	}
	if (!parse_end(p))
		return false;
	log_info("imap-id", LOG_STR("session", s->id), LOG_SPAN("name", client),
	    LOG_SPAN("version", version));
	return true;
}

void cmd_id(struct session *s, struct parser *p)
{
	if (!parse_id(s, p)) {
		finish_bad(s, "ID needs NIL or a list of names and values");
		return;
	}
	/* No version: strangers need not know it. */
	untagged(s, "ID (\"name\" \"mailstead\")");
	finish(s, "OK Pleased to meet you");
}

void cmd_starttls(struct session *s, struct parser *p)
{
	struct err err = ERR_INIT;

	if (conn_is_tls(s->conn) || !s->listener->tls) {
		finish_bad(s, conn_is_tls(s->conn) ? "TLS is active" : "No TLS on this port");
		return;
	}
	finish(s, "OK Begin TLS");
	if (conn_start_tls(s->conn, s->listener->tls, &err) < 0) {
		log_warning("imap-injection", LOG_STR("session", s->id),
		    LOG_STR("client", s->client), LOG_ERR(&err));
		session_bye(s, "Nothing may follow STARTTLS");
	}
}

/* RFC 4978 */
void cmd_compress(struct session *s, struct parser *p)
{
	struct err err = ERR_INIT;
	struct span word;

	if (!parse_atom(p, &word) || !parse_end(p)) {
		finish_bad(s, "COMPRESS needs the name of a mechanism");
		return;
	}
	if (!span_ieq(word, SPAN("DEFLATE"))) {
		finish(s, "NO [CANNOT] Only DEFLATE is known");
		return;
	}
	if (conn_is_compressed(s->conn)) {
		finish(s, "NO [COMPRESSIONACTIVE] Compression is active");
		return;
	}
	finish(s, "OK Compression begins");
	if (conn_start_deflate(s->conn, &err) < 0)
		session_bye(s, "Nothing may follow COMPRESS before its answer");
}

void cmd_enable(struct session *s, struct parser *p)
{
	bool condstore = false, qresync = false, utf8 = false;
	struct span word;

	do {
		if (!parse_atom(p, &word)) {
			finish_bad(s, "ENABLE needs names of capabilities");
			return;
		}
		condstore |= span_ieq(word, SPAN("CONDSTORE"));
		qresync |= span_ieq(word, SPAN("QRESYNC"));
		utf8 |= span_ieq(word, SPAN("UTF8=ACCEPT"));
	} while (parse_sp(p));
	if (!parse_end(p)) {
		finish_bad(s, "ENABLE needs names of capabilities");
		return;
	}
	/* RFC 5161 section 3.1: what was not enabled before, and is known, is listed. */
	untagged(s, "ENABLED%s%s%s", condstore ? " CONDSTORE" : "", qresync ? " QRESYNC" : "",
	    utf8 ? " UTF8=ACCEPT" : "");
	if (condstore || qresync)
		session_enable_condstore(s);
	s->has_qresync |= qresync;
	s->has_utf8 |= utf8;
	finish(s, "OK Enabled");
}

void cmd_namespace(struct session *s, struct parser *p)
{
	untagged(s, "NAMESPACE ((\"\" \"/\")) NIL NIL");
	finish(s, "OK Namespaces told");
}
