/* Home: one verdict, and a line for each thing that can be wrong, with the way to its repair. */
#include "webadmin/web.h"

#include <stdio.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <time.h>

#define CERT_WARN_DAYS 21
#define DISK_WARN_PERCENT 10
#define DISK_BAD_PERCENT 3
#define BACKUP_WARN_SECONDS (2 * 86400)

struct lines {
	struct html good, bad; /* what is wrong stands above what is right */
	struct html parts;     /* ports and processes that are right: below */
	bool are_parts;
	size_t bad_count, warn_count;
};

/* A line: what, in which state, and where it is mended. */
static struct html *line_begin(struct lines *l, enum notice kind, struct span what)
{
	static const char *const classes[] = {"good", "warn", "bad", "off"};
	bool is_fine = kind == NOTICE_GOOD || kind == NOTICE_INFO;
	struct html *h = !is_fine ? &l->bad : l->are_parts ? &l->parts : &l->good;

	l->bad_count += kind == NOTICE_BAD;
	l->warn_count += kind == NOTICE_WARN;
	HTML(h, R("<tr><td><span class=\"dot "), S(classes[kind]), R("\">"), T(what),
	    R("</span></td><td>"));
	return h;
}

static void line_end(struct html *h, const char *path, enum text_id label)
{
	HTML(h, R("</td><td>"));
	if (path)
		HTML(h, R("<a href=\""), S(path), R("\">"), LID(label), R("</a>"));
	HTML(h, R("</td></tr>\n"));
}

/* The value of the process' own record. */
static bool process_value(
    const struct answer *a, const char *process, const char *name, uint64_t *n)
{
	for (size_t i = 0; i < a->count; i++)
		if (span_eq(answer_text(a, i, "process"), span_of(process)) &&
		    answer_text(a, i, "error").n == 0) {
			*n = answer_number(a, i, name);
			return true;
		}
	return false;
}

static bool has_open_port(struct request *rq, const struct answer *a)
{
	for (size_t i = 0; i < config_listener_count(rq->cfg); i++) {
		const struct config_listener *l = config_listener(rq->cfg, i);

		for (size_t k = 0; l->role == ROLE_SMTP && k < a->count; k++)
			if (span_eq(answer_text(a, k, "listener"), span_of(l->name)) &&
			    answer_number(a, k, "bound"))
				return true;
	}
	return false;
}

static void mail_lines(struct lines *l, struct request *rq, const struct answer *a)
{
	uint64_t is_low = 0, is_paused = 0, is_blocked = 0, n;
	bool is_in = process_value(a, "smtpd-receive", "low-space", &is_low) &&
		     process_value(a, "smtpd-local", "delivered", &n) && has_open_port(rq, a);
	bool is_out = process_value(a, "smtpd-send", "paused", &is_paused) &&
		      process_value(a, "smtpd-send", "blocked", &is_blocked);
	struct html *h;

	h = line_begin(l, is_in && !is_low ? NOTICE_GOOD : NOTICE_BAD, text_of(TEXT_RECEIVING));
	HTML(h, LID(is_low ? TEXT_LOW_SPACE : is_in ? TEXT_RECEIVING_OK : TEXT_RECEIVING_BAD));
	line_end(h, is_in ? "/trace" : "/ports", is_in ? TEXT_MENU_TRACE : TEXT_MENU_PORTS);
	h = line_begin(l,
	    !is_out || is_blocked ? NOTICE_BAD
	    : is_paused           ? NOTICE_WARN
				  : NOTICE_GOOD,
	    text_of(TEXT_SENDING));
	HTML(h, LID(!is_out      ? TEXT_SENDING_BAD
		    : is_blocked ? TEXT_SENDING_BLOCKED
		    : is_paused  ? TEXT_SENDING_PAUSED
				 : TEXT_SENDING_OK));
	line_end(
	    h, is_blocked ? "/network" : "/queue", is_blocked ? TEXT_NETWORK : TEXT_MENU_QUEUE);
}

/* --- the machine
 * ---------------------------------------------------------------------------------------------- */
static void disk_line(struct lines *l, struct request *rq)
{
	uint64_t free_bytes, all, percent;
	struct statvfs fs;
	struct html *h;

	if (statvfs(config_str(rq->cfg, SET_PATHS_STATE), &fs) < 0 || fs.f_blocks == 0)
		return;
	free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	all = (uint64_t)fs.f_blocks * fs.f_frsize;
	percent = free_bytes / (all / 100 + 1);
	h = line_begin(l,
	    percent < DISK_BAD_PERCENT    ? NOTICE_BAD
	    : percent < DISK_WARN_PERCENT ? NOTICE_WARN
					  : NOTICE_GOOD,
	    text_of(TEXT_DISK));
	html_bytes(h, free_bytes);
	HTML(h, R(" "), L(DISK_FREE), R(" "));
	html_bytes(h, all);
	HTML(h, R("<br><meter min=\"0\" max=\"100\" high=\"90\" optimum=\"0\" value=\""),
	    N(100 - (percent > 100 ? 100 : percent)), R("\" aria-label=\""), L(DISK),
	    R("\"></meter>"));
	line_end(h, NULL, TEXT_REPAIR);
}

static void backup_line(struct lines *l, struct request *rq)
{
	uint64_t now = (uint64_t)time(NULL);
	struct err err = ERR_INIT;
	struct html *h;
	struct answer a;
	uint64_t made;
	bool is_old;

	if (config_str(rq->cfg, SET_BACKUP_FOLDER)[0] == '\0') {
		h = line_begin(l, NOTICE_INFO, text_of(TEXT_BACKUP));
		HTML(h, L(BACKUP_NONE));
	} else if (admin_call(rq, &WORDS("backup", "list"), &a, &err) < 0 || a.code != ERR_NONE) {
		h = line_begin(l, NOTICE_WARN, text_of(TEXT_BACKUP));
		HTML(h, L(BACKUP_UNKNOWN), R(" "), T(a.text));
	} else if (a.count == 0) {
		h = line_begin(l, NOTICE_WARN, text_of(TEXT_BACKUP));
		HTML(h, L(BACKUP_NONE_YET));
	} else {
		made = answer_number(&a, 0, "made");
		is_old = made + BACKUP_WARN_SECONDS < now;
		h = line_begin(l, is_old ? NOTICE_WARN : NOTICE_GOOD, text_of(TEXT_BACKUP));
		HTML(h, L(BACKUP_LAST), R(" "));
		html_time(h, made);
	}
	line_end(h, "/backup", TEXT_BACKUP);
}

/* Second factors and signatures depend on it. */
static void clock_line(struct lines *l)
{
	struct timex t = {.modes = 0};
	int state = adjtimex(&t);
	bool is_kept = state >= 0 && state != TIME_ERROR;
	struct html *h = line_begin(l, is_kept ? NOTICE_GOOD : NOTICE_INFO, text_of(TEXT_CLOCK));

	html_time(h, (uint64_t)time(NULL));
	HTML(h, R(", "), LID(is_kept ? TEXT_CLOCK_KEPT : TEXT_CLOCK_ALONE));
	line_end(h, NULL, TEXT_REPAIR);
}

static void dns_lines(struct lines *l, struct request *rq)
{
	struct err err = ERR_INIT;
	struct answer a;

	if (admin_call(rq, &WORDS("domain", "list"), &a, &err) < 0 || a.code != ERR_NONE)
		return;
	/* Nobody waits for name servers here: the page behind it does. */
	for (size_t i = 0; i < a.count && i < 8; i++) {
		struct html *h = line_begin(l, NOTICE_INFO, SPAN("DNS"));

		HTML(h, T(answer_text(&a, i, "domain")),
		    R("</td><td><a href=\"/domain?check=1&amp;d="));
		html_url(h, answer_text(&a, i, "domain"));
		HTML(h, R("\">"), L(DNS_CHECK), R("</a></td></tr>\n"));
	}
}

static void graphs(struct html *h, struct request *rq)
{
	struct err err = ERR_INIT;
	struct answer a;

	if (admin_call(rq, &WORDS("traffic", "48"), &a, &err) < 0 || a.code != ERR_NONE ||
	    a.count == 0)
		return;
	HTML(h, R("<section><h2>"), L(TRAFFIC), R("</h2>\n<div class=\"graphs\">\n"));
	graph(h, &a, "delivered", TEXT_GRAPH_IN);
	graph(h, &a, "sent", TEXT_GRAPH_OUT);
	graph(h, &a, "refused", TEXT_GRAPH_REFUSED);
	graph(h, &a, "failed", TEXT_GRAPH_FAILED);
	HTML(h, R("</div>\n"));
	same_command(h, "traffic 48");
	HTML(h, R("</section>\n"));
}

static void process_line(struct lines *l, const struct answer *a, size_t i)
{
	struct span name = answer_text(a, i, "process");
	bool is_bad = answer_text(a, i, "error").n > 0;
	struct html *h = line_begin(l, is_bad ? NOTICE_BAD : NOTICE_GOOD, name);

	if (is_bad) {
		HTML(h, T(answer_text(a, i, "reason")));
	} else {
		html_bytes(h, answer_number(a, i, "memory"));
		HTML(h, R(", "), N(answer_number(a, i, "connections")), R(" "),
		    L(CONNECTIONS_LOWER));
	}
	line_end(h, NULL, TEXT_REPAIR);
}

static void listener_line(struct lines *l, const struct answer *a, size_t i)
{
	bool is_bound = answer_number(a, i, "bound") != 0;
	struct html *h =
	    line_begin(l, is_bound ? NOTICE_GOOD : NOTICE_BAD, answer_text(a, i, "listener"));

	HTML(h, L(PORT), R(" "), N(answer_number(a, i, "port")), R(", "),
	    LID(is_bound ? TEXT_BOUND : TEXT_NOT_BOUND));
	line_end(h, "/ports", TEXT_MENU_PORTS);
}

static void status_lines(struct lines *l, const struct answer *a)
{
	for (size_t i = 0; i < a->count; i++) {
		if (answer_text(a, i, "listener").n > 0)
			listener_line(l, a, i);
		else if (answer_text(a, i, "process").n > 0)
			process_line(l, a, i);
	}
}

static void queue_line(struct lines *l, struct request *rq)
{
	struct err err = ERR_INIT;
	struct answer a;
	struct html *h;
	bool is_good = admin_call(rq, &WORDS("queue", "list"), &a, &err) == 0 && a.code == ERR_NONE;

	h = line_begin(l, is_good ? NOTICE_GOOD : NOTICE_BAD, text_of(TEXT_MENU_QUEUE));
	if (is_good)
		HTML(h, N(a.count), R(" "), L(QUEUE_WAITING));
	else
		HTML(h, T(a.text));
	line_end(h, "/queue", TEXT_MENU_QUEUE);
}

static void certificate_lines(struct lines *l, struct request *rq)
{
	struct err err = ERR_INIT;
	struct answer a;

	if (admin_call(rq, &WORDS("cert", "list"), &a, &err) < 0 || a.code != ERR_NONE)
		return;
	for (size_t i = 0; i < a.count; i++) {
		struct ipc_value days;
		struct html *h;

		if (!answer_value(&a, i, "days-left", &days))
			continue;
		h = line_begin(l, days.number > CERT_WARN_DAYS ? NOTICE_GOOD : NOTICE_WARN,
		    text_of(TEXT_MENU_CERTIFICATES));
		HTML(h, T(answer_text(&a, i, "id")), R(": "), N(days.number), R(" "), L(DAYS_LEFT));
		line_end(h, "/certificates", TEXT_MENU_CERTIFICATES);
	}
}

/* Only what failed: that a certificate is there is said above. */
static void acme_lines(struct lines *l, struct request *rq)
{
	struct err err = ERR_INIT;
	struct answer a;

	if (admin_call(rq, &WORDS("cert", "acme", "list"), &a, &err) < 0 || a.code != ERR_NONE)
		return;
	for (size_t i = 0; i < a.count; i++) {
		struct html *h;

		if (answer_number(&a, i, "failures") == 0)
			continue;
		h = line_begin(l, NOTICE_WARN, text_of(TEXT_ACME_SHORT));
		HTML(h, T(answer_text(&a, i, "id")), R(": "), T(answer_text(&a, i, "text")));
		line_end(h, "/certificates#acme", TEXT_REPAIR);
	}
}

static void verdict(struct html *h, const struct lines *l)
{
	enum notice kind = l->bad_count > 0    ? NOTICE_BAD
			   : l->warn_count > 0 ? NOTICE_WARN
					       : NOTICE_GOOD;

	notice_begin(h, kind);
	HTML(h, R("<span class=\"verdict\">"),
	    LID(kind == NOTICE_BAD    ? TEXT_VERDICT_BAD
		: kind == NOTICE_WARN ? TEXT_VERDICT_WARN
				      : TEXT_VERDICT_GOOD),
	    R("</span>"));
	notice_end(h);
}

static void table_of(struct html *h, struct html *first, struct html *then)
{
	HTML(h, R("<div class=\"scroll\"><table>\n"));
	strbuf_add(&h->out, strbuf_span(&first->out));
	strbuf_clear(&first->out);
	if (then) {
		strbuf_add(&h->out, strbuf_span(&then->out));
		strbuf_clear(&then->out);
	}
	HTML(h, R("</table></div>\n"));
}

void page_home(struct request *rq)
{
	struct lines l = {.bad_count = 0};
	struct answer a;
	struct html h;

	if (!ask(rq, &WORDS("status"), &a))
		return;
	html_init(&l.good);
	html_init(&l.bad);
	html_init(&l.parts);
	mail_lines(&l, rq, &a);
	queue_line(&l, rq);
	certificate_lines(&l, rq);
	acme_lines(&l, rq);
	disk_line(&l, rq);
	backup_line(&l, rq);
	clock_line(&l);
	dns_lines(&l, rq);
	l.are_parts = true;
	status_lines(&l, &a);
	page_begin(&h, rq, TEXT_MENU_HOME);
	pending_notice(&h, rq);
	verdict(&h, &l);
	table_of(&h, &l.bad, &l.good);
	graphs(&h, rq);
	HTML(&h, R("<h2>"), L(PARTS), R("</h2>\n"));
	table_of(&h, &l.parts, NULL);
	same_command(&h, "status");
	page_end(&h);
}
