#include "webadmin/html.h"

#include "webadmin/web.h"

#include <time.h>

struct span text_of(enum text_id id)
{
	static const struct span texts[TEXT_COUNT] = {
#define TEXT(id, english) SPAN_INIT(english),
#include "webadmin/text.def"
#undef TEXT
	};

	return texts[id];
}

void html_init(struct html *h)
{
	strbuf_init(&h->out, WEB_PAGE_MAX);
}

static void put_chr(struct strbuf *b, char c)
{
	switch (c) {
	case '&':
		strbuf_add_str(b, "&amp;");
		break;
	case '<':
		strbuf_add_str(b, "&lt;");
		break;
	case '>':
		strbuf_add_str(b, "&gt;");
		break;
	case '"':
		strbuf_add_str(b, "&quot;");
		break;
	case '\'':
		strbuf_add_str(b, "&#39;");
		break;
	default:
		if (ascii_is_ctl(c) && c != '\n' && c != '\t')
			strbuf_add_str(b, "\xef\xbf\xbd");
		else
			strbuf_add_chr(b, c);
		break;
	}
}

void html_put(struct html *h, const struct piece *pieces, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct piece *p = &pieces[i];

		if (p->kind == PIECE_MARKUP)
			strbuf_add(&h->out, p->text);
		else if (p->kind == PIECE_NUMBER)
			strbuf_add_u64(&h->out, p->number);
		else
			for (size_t k = 0; k < p->text.n; k++)
				put_chr(&h->out, p->text.p[k]);
	}
}

void html_bytes(struct html *h, uint64_t n)
{
	static const char *const units[] = {"B", "KB", "MB", "GB", "TB"};
	double v = (double)n;
	size_t u = 0;

	while (v >= 1024 && u + 1 < ARRAY_LEN(units)) {
		v /= 1024;
		u++;
	}
	strbuf_addf(&h->out, u == 0 || v >= 100 ? "%.0f %s" : "%.1f %s", v, units[u]);
}

void html_time(struct html *h, uint64_t seconds)
{
	time_t when = (time_t)seconds;
	struct tm tm;

	if (when > 0 && gmtime_r(&when, &tm))
		strbuf_addf(&h->out,
		    "<time datetime=\"%04d-%02d-%02dT%02d:%02d:%02dZ\">%04d-%02d-%02d "
		    "%02d:%02d:%02d "
		    "UTC</time>",
		    tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
		    tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
	else
		HTML(h, L(NEVER));
}

void html_clock(struct html *h, uint64_t seconds)
{
	time_t when = (time_t)seconds;
	struct tm tm;

	if (gmtime_r(&when, &tm))
		strbuf_addf(&h->out, "%04d-%02d-%02d %02d:%02d UTC", tm.tm_year + 1900,
		    tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min);
}

void html_value(struct html *h, const struct ipc_value *v)
{
	switch (v->type) {
	case IPC_TEXT:
		HTML(h, T(v->text));
		break;
	case IPC_BOOL:
		HTML(h, LID(v->number ? TEXT_YES : TEXT_NO));
		break;
	case IPC_BYTES:
		html_bytes(h, v->number);
		break;
	case IPC_TIME:
		html_time(h, v->number);
		break;
	default:
		HTML(h, N(v->number));
		break;
	}
}

void html_url(struct html *h, struct span text)
{
	static const char digits[] = "0123456789ABCDEF";

	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];

		if (ascii_is_alnum((char)c) || c == '-' || c == '.' || c == '_') {
			strbuf_add_chr(&h->out, (char)c);
			continue;
		}
		strbuf_add_chr(&h->out, '%');
		strbuf_add_chr(&h->out, digits[c >> 4]);
		strbuf_add_chr(&h->out, digits[c & 15]);
	}
}
