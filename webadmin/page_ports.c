/* Ports: a row a listener, with the truth beside it. */
#include "webadmin/web.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LISTENERS_MAX 64

/* What the settings say of one listener: values of "get". */
struct port {
	struct span name, enabled, role, address, number, tls, auth, certificate, plain, hostname;
	bool is_fixed; /* by the administrator's file: shown, not changed */
};

static struct span *port_key(struct port *p, struct span key)
{
	static const struct {
		const char *key;
		size_t offset;
	} keys[] = {
	    {"enabled", offsetof(struct port, enabled)},
	    {"role", offsetof(struct port, role)},
	    {"address", offsetof(struct port, address)},
	    {"port", offsetof(struct port, number)},
	    {"tls", offsetof(struct port, tls)},
	    {"auth", offsetof(struct port, auth)},
	    {"certificate", offsetof(struct port, certificate)},
	    {"login_without_tls", offsetof(struct port, plain)},
	    {"hostname", offsetof(struct port, hostname)},
	};

	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (span_eq(key, span_of(keys[i].key)))
			return (struct span *)((char *)p + keys[i].offset);
	return NULL;
}

static struct port *find_port(struct port *all, size_t *n, struct span name)
{
	for (size_t i = 0; i < *n; i++)
		if (span_eq(all[i].name, name))
			return &all[i];
	if (*n == LISTENERS_MAX)
		return NULL;
	all[*n] = (struct port){.name = name};
	return &all[(*n)++];
}

static size_t read_ports(const struct answer *a, struct port all[LISTENERS_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < a->count; i++) {
		struct span name = answer_text(a, i, "name");
		struct span origin = answer_text(a, i, "origin");
		struct span key, listener;
		struct port *p;
		struct span *value;
		ssize_t at;

		if (!span_starts(name, SPAN("listener.")))
			continue;
		listener = span_from(name, 9);
		at = span_rchr(listener, '.');
		if (at < 0)
			continue;
		key = span_from(listener, (size_t)at + 1);
		listener.n = (size_t)at;
		p = find_port(all, &n, listener);
		value = p ? port_key(p, key) : NULL;
		if (value)
			*value = answer_text(a, i, "value");
		if (p && span_ends(origin, SPAN("mailstead.conf")) &&
		    (span_eq(key, SPAN("port")) || span_eq(key, SPAN("tls"))))
			p->is_fixed = true;
	}
	return n;
}

/* The record of status about a listener, or count if none has it. */
static size_t live_record(const struct answer *status, struct span name)
{
	for (size_t i = 0; i < status->count; i++)
		if (span_eq(answer_text(status, i, "listener"), name))
			return i;
	return status->count;
}

static void live_cells(struct html *h, const struct answer *status, const struct port *p)
{
	size_t i = live_record(status, p->name);
	bool is_on = span_eq(p->enabled, SPAN("yes"));
	struct ipc_value v;

	HTML(h, R("<td>"));
	if (!is_on)
		dot(h, NOTICE_INFO, TEXT_OFF);
	else if (i < status->count && answer_number(status, i, "bound"))
		dot(h, NOTICE_GOOD, TEXT_BOUND);
	else
		dot(h, NOTICE_BAD, TEXT_NOT_BOUND);
	HTML(h, R("</td><td>"));
	if (i < status->count)
		HTML(h, N(answer_number(status, i, "connections")));
	HTML(h, R("</td><td>"));
	if (i < status->count && answer_value(status, i, "last-client", &v))
		html_value(h, &v);
	HTML(h, R("</td>"));
}

static const struct choice stances[] = {
    {"none", SPAN_INIT("none: no TLS")},
    {"offered", SPAN_INIT("offered: STARTTLS if the client likes")},
    {"required", SPAN_INIT("required: STARTTLS before anything else")},
    {"implicit", SPAN_INIT("implicit: TLS from the first byte")},
};
static const struct choice yes_no[] = {{"yes", SPAN_INIT("yes")}, {"no", SPAN_INIT("no")}};
static const struct choice roles[] = {
    {"smtp", SPAN_INIT("smtp: mail from other servers")},
    {"submission", SPAN_INIT("submission: mail from our people")},
    {"imap", SPAN_INIT("imap")},
    {"pop3", SPAN_INIT("pop3")},
};

static void port_fields(struct html *h, const struct port *p)
{
	HTML(h, R("<div class=\"row\">"));
	choose(h, TEXT_ON, "enabled", yes_no, ARRAY_LEN(yes_no), p->enabled);
	input(h, TEXT_PORT, "port", "number", p->number, "required min=\"1\" max=\"65535\"");
	input(h, TEXT_BIND_ADDRESS, "address", "text", p->address, "required");
	choose(h, TEXT_TLS, "tls", stances, ARRAY_LEN(stances), p->tls);
	HTML(h, R("</div><div class=\"row\">"));
	choose(h, TEXT_MAY_LOG_IN, "auth", yes_no, ARRAY_LEN(yes_no), p->auth);
	choose(h, TEXT_PLAIN_LOGIN, "login_without_tls", yes_no, ARRAY_LEN(yes_no), p->plain);
	input(h, TEXT_CERTIFICATE_ID, "certificate", "text", p->certificate, "required");
	input(h, TEXT_HOSTNAME, "hostname", "text", p->hostname, "");
	HTML(h, R("</div>\n"));
}

/* --- the firewall: which one is there, and its line
 * ---------------------------------------------------------- */
static const struct {
	const char *name, *shows, *before, *behind;
} firewalls[] = {
    {"ufw", "/etc/ufw/ufw.conf", "ufw allow ", "/tcp"},
    {"firewalld", "/run/firewalld",
	"firewall-cmd --permanent --add-port=", "/tcp && firewall-cmd --reload"},
    {"nftables", "/usr/sbin/nft", "nft add rule inet filter input tcp dport ", " accept"},
    {"iptables", "/usr/sbin/iptables", "iptables -A INPUT -p tcp --dport ", " -j ACCEPT"},
};

static void firewall_lines(struct html *h, const struct port *p)
{
	bool has_one = false;

	HTML(h, R("<details><summary>"), L(FIREWALL), R("</summary><dl>\n"));
	for (size_t i = 0; i < ARRAY_LEN(firewalls); i++) {
		bool is_there = access(firewalls[i].shows, F_OK) == 0;

		HTML(h, R("<dt>"), S(firewalls[i].name), R(" "));
		dot(h, is_there && !has_one ? NOTICE_GOOD : NOTICE_INFO,
		    is_there ? TEXT_FIREWALL_HERE : TEXT_FIREWALL_NOT);
		has_one = has_one || is_there;
		HTML(h, R("</dt><dd><span class=\"copy\"><code>sudo "), S(firewalls[i].before),
		    T(p->number), S(firewalls[i].behind), R("</code></span></dd>\n"));
	}
	HTML(h, R("</dl></details>\n"));
}

static void test_form(struct html *h, const struct request *rq, const struct port *p)
{
	if (!span_eq(p->enabled, SPAN("yes")) || span_starts(p->address, SPAN("/")) ||
	    span_eq(p->role, SPAN("lmtp")))
		return;
	form_begin(h, rq, "/ports/test");
	hidden(h, "name", p->name);
	HTML(h, R("<button class=\"quiet\">"), L(TEST_NOW), R("</button></form>\n"));
}

/* What the page showed, so that an old one takes back nothing that somebody changed meanwhile. */
static const char *const port_keys[] = {
    "enabled", "port", "address", "tls", "auth", "login_without_tls", "certificate", "hostname"};

static void remember(struct html *h, struct port *p)
{
	for (size_t i = 0; i < ARRAY_LEN(port_keys); i++) {
		struct span *value = port_key(p, span_of(port_keys[i]));

		HTML(h, R("<input type=\"hidden\" name=\"was."), S(port_keys[i]), R("\" value=\""),
		    T(*value), R("\">\n"));
	}
}

static void port_section(struct html *h, const struct request *rq, struct port *p)
{
	bool is_plain = span_eq(p->plain, SPAN("yes")) && span_eq(p->auth, SPAN("yes"));

	HTML(h, R("<section id=\""), T(p->name), R("\"><h2>"), T(p->name), R(" <small>("),
	    T(p->role), R(")</small></h2>\n"));
	if (is_plain) {
		notice_begin(h, NOTICE_WARN);
		HTML(h, L(PLAIN_WARNING));
		notice_end(h);
	}
	if (p->is_fixed) {
		notice_begin(h, NOTICE_INFO);
		HTML(h, L(FIXED_BY_FILE));
		notice_end(h);
	}
	form_begin(h, rq, "/ports/set");
	hidden(h, "name", p->name);
	remember(h, p);
	port_fields(h, p);
	form_end(h, TEXT_CHANGE);
	HTML(h, R("<p class=\"command\">"), L(SAME_COMMAND), R(" <code>mailsteadctl set listener."),
	    T(p->name), R(".port "), T(p->number), R("</code></p>\n"));
	test_form(h, rq, p);
	firewall_lines(h, p);
	HTML(h, R("</section>\n"));
}

static void overview(struct html *h, const struct answer *status, const struct port *all, size_t n)
{
	HTML(h, R("<div class=\"scroll\"><table>\n<tr><th>"), L(NAME), R("</th><th>"), L(PORT),
	    R("</th><th>"), L(ROLE), R("</th><th>"), L(TLS), R("</th><th>"), L(STATE),
	    R("</th><th>"), L(CONNECTIONS), R("</th><th>"), L(LAST_CLIENT), R("</th></tr>\n"));
	for (size_t i = 0; i < n; i++) {
		HTML(h, R("<tr><td><a href=\"#"), T(all[i].name), R("\">"), T(all[i].name),
		    R("</a></td><td>"), T(all[i].number), R("</td><td>"), T(all[i].role),
		    R("</td><td>"), T(all[i].tls), R("</td>"));
		live_cells(h, status, &all[i]);
		HTML(h, R("</tr>\n"));
	}
	HTML(h, R("</table></div>\n"));
}

/* --- presets: which of the built-in ports are open
 * ---------------------------------------------------------- */
struct preset {
	const char *name;
	enum text_id label, hint;
	const char *const *open, *const *closed; /* up to NULL; others stay */
};

static const char *const modern[] = {"smtp", "submission", "submissions", "imaps", "pop3s", NULL};
static const char *const not_modern[] = {"smtp-alt", "submission-alt", "imap", "pop3", NULL};
static const char *const plain[] = {
    "smtp", "submission", "submissions", "imaps", "pop3s", "imap", "pop3", NULL};
static const char *const extra[] = {"smtp-alt", "submission-alt", NULL};
static const char *const nothing[] = {NULL};

static const struct preset presets[] = {
    {"modern", TEXT_PRESET_MODERN, TEXT_PRESET_MODERN_HINT, modern, not_modern},
    {"plain", TEXT_PRESET_PLAIN, TEXT_PRESET_PLAIN_HINT, plain, nothing},
    {"extra", TEXT_PRESET_EXTRA, TEXT_PRESET_EXTRA_HINT, extra, nothing},
};

static void preset_section(struct html *h, const struct request *rq)
{
	HTML(h, R("<section><h2>"), L(PRESETS), R("</h2>\n"));
	form_begin(h, rq, "/ports/preset");
	HTML(h, R("<dl>"));
	for (size_t i = 0; i < ARRAY_LEN(presets); i++)
		HTML(h, R("<dt><button class=\"quiet\" name=\"preset\" value=\""),
		    S(presets[i].name), R("\">"), LID(presets[i].label), R("</button></dt><dd>"),
		    LID(presets[i].hint), R("</dd>\n"));
	HTML(h, R("</dl></form>\n"));
	same_command(h, "set listener.imap.enabled no listener.pop3.enabled no ...");
	HTML(h, R("</section>\n"));
}

static void add_section(struct html *h, const struct request *rq)
{
	HTML(h, R("<section><h2>"), L(PORT_ADD), R("</h2>\n"));
	form_begin(h, rq, "/ports/add");
	HTML(h, R("<div class=\"row\">"));
	input(h, TEXT_NAME, "name", "text", SPAN(""),
	    "required pattern=\"[a-z0-9][a-z0-9-]*\" maxlength=\"32\"");
	input(h, TEXT_PORT, "port", "number", SPAN(""), "required min=\"1\" max=\"65535\"");
	choose(h, TEXT_ROLE, "role", roles, ARRAY_LEN(roles), SPAN("submission"));
	choose(h, TEXT_TLS, "tls", stances, ARRAY_LEN(stances), SPAN("required"));
	HTML(h, R("</div>\n"));
	form_end(h, TEXT_ADD);
	HTML(h, R("</section>\n"));
}

void page_ports(struct request *rq)
{
	static struct port all[LISTENERS_MAX];
	struct answer settings, status;
	struct html h;
	size_t n;

	if (!ask(rq, &WORDS("get"), &settings) || !try_ask(rq, &WORDS("status"), &status))
		return;
	n = read_ports(&settings, all);
	page_begin(&h, rq, TEXT_MENU_PORTS);
	pending_notice(&h, rq);
	HTML(&h, R("<p>"), L(PORTS_HINT), R("</p>\n"));
	overview(&h, &status, all, n);
	for (size_t i = 0; i < n; i++)
		port_section(&h, rq, &all[i]);
	preset_section(&h, rq);
	add_section(&h, rq);
	page_end(&h);
}

/* --- changing
 * -------------------------------------------------------------------------------------- */
static const char *full_name(struct request *rq, struct span listener, const char *key)
{
	struct strbuf b;
	const char *s;

	strbuf_init(&b, 512);
	strbuf_add_str(&b, "listener.");
	strbuf_add(&b, listener);
	strbuf_addf(&b, ".%s", key);
	s = b.failed ? NULL : arena_strdup(&rq->arena, strbuf_span(&b));
	strbuf_clear(&b);
	return s ? s : "";
}

/* What the form changes: all in one command, so that all or nothing of it happens. */
static void set_all(
    struct request *rq, struct span listener, const char *const *keys, size_t n, bool is_new)
{
	struct command cmd = WORDS("set");

	for (size_t i = 0; i < n; i++) {
		char was[32];

		snprintf(was, sizeof(was), "was.%s", keys[i]);
		if (!is_new && span_eq(request_form(rq, was), request_form(rq, keys[i])))
			continue;
		cmd.words[cmd.count++] = full_name(rq, listener, keys[i]);
		cmd.words[cmd.count++] = form_cstr(rq, keys[i]);
	}
	if (cmd.count == 1)
		send_redirect("/ports", NULL);
	else
		act(rq, &cmd, "/ports", "changed");
}

void action_port_set(struct request *rq)
{
	static struct port all[LISTENERS_MAX];
	struct answer settings;
	struct port *now;
	size_t n;

	if (!ask(rq, &WORDS("get"), &settings))
		return;
	n = read_ports(&settings, all);
	now = find_port(all, &n, request_form(rq, "name"));
	if (!now || !now->number.p)
		page_error(rq, 404, TEXT_NO_PAGE);
	else
		set_all(rq, now->name, port_keys, ARRAY_LEN(port_keys), false);
}

void action_port_add(struct request *rq)
{
	static const char *const keys[] = {"port", "role", "tls"};

	set_all(rq, request_form(rq, "name"), keys, ARRAY_LEN(keys), true);
}

static void switch_all(struct request *rq, struct command *cmd, const struct port *all, size_t n,
    const char *const *names, const char *value)
{
	for (; *names; names++)
		for (size_t i = 0; i < n; i++)
			if (span_eq(all[i].name, span_of(*names)) &&
			    !span_eq(all[i].enabled, span_of(value)) &&
			    cmd->count + 2 <= CALL_WORDS_MAX) {
				cmd->words[cmd->count++] = full_name(rq, all[i].name, "enabled");
				cmd->words[cmd->count++] = value;
			}
}

void action_port_preset(struct request *rq)
{
	static struct port all[LISTENERS_MAX];
	const struct preset *p = NULL;
	struct command cmd = WORDS("set");
	struct answer settings;
	size_t n;

	for (size_t i = 0; i < ARRAY_LEN(presets); i++)
		if (span_eq(request_form(rq, "preset"), span_of(presets[i].name)))
			p = &presets[i];
	if (!p) {
		page_error(rq, 404, TEXT_NO_PAGE);
		return;
	}
	if (!ask(rq, &WORDS("get"), &settings))
		return;
	n = read_ports(&settings, all);
	switch_all(rq, &cmd, all, n, p->open, "yes");
	switch_all(rq, &cmd, all, n, p->closed, "no");
	if (cmd.count == 1)
		send_redirect("/ports", NULL);
	else
		act(rq, &cmd, "/ports", "changed");
}
