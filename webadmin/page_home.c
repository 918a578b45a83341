/* Home: one verdict, and a line for each thing that can be wrong, with the way to its repair. */
#include "webadmin/web.h"

#define CERT_WARN_DAYS 21

struct lines {
	struct html good, bad; /* what is wrong stands above what is right */
	size_t bad_count, warn_count;
};

/* A line: what, in which state, and where it is mended. */
static struct html *line_begin(struct lines *l, enum notice kind, struct span what)
{
	static const char *const classes[] = {"good", "warn", "bad", "off"};
	struct html *h = kind == NOTICE_GOOD ? &l->good : &l->bad;

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

void page_home(struct request *rq)
{
	struct lines l = {.bad_count = 0};
	struct answer a;
	struct html h;

	if (!ask(rq, &WORDS("status"), &a))
		return;
	html_init(&l.good);
	html_init(&l.bad);
	status_lines(&l, &a);
	queue_line(&l, rq);
	certificate_lines(&l, rq);
	page_begin(&h, rq, TEXT_MENU_HOME);
	pending_notice(&h, rq);
	verdict(&h, &l);
	HTML(&h, R("<div class=\"scroll\"><table>\n"));
	strbuf_add(&h.out, strbuf_span(&l.bad.out));
	strbuf_add(&h.out, strbuf_span(&l.good.out));
	HTML(&h, R("</table></div>\n"));
	strbuf_clear(&l.good.out);
	strbuf_clear(&l.bad.out);
	same_command(&h, "status");
	page_end(&h);
}
