#include "common/ctl/ctl.h"

#include "common/base/mem.h"
#include "common/base/utf8.h"

#include <stdio.h>
#include <time.h>

#define COLUMNS_MAX 64
#define LINE_MAX_WIDTH 80 /* of one record: a wider one stands as a list */

void records_add(struct records *r, struct span body)
{
	if (r->count == r->cap) {
		r->cap = r->cap ? r->cap * 2 : 64;
		r->list = mem_grow(r->list, r->cap, sizeof(*r->list));
	}
	strbuf_init(&r->list[r->count], IPC_BODY_MAX);
	strbuf_add(&r->list[r->count], body);
	r->count++;
}

void records_clear(struct records *r)
{
	for (size_t i = 0; i < r->count; i++)
		strbuf_clear(&r->list[i]);
	mem_free(r->list);
	*r = (struct records){0};
}

static void add_time(struct strbuf *b, uint64_t seconds)
{
	time_t t = (time_t)seconds;
	struct tm tm;

	if (seconds == 0 || !gmtime_r(&t, &tm))
		strbuf_add_str(b, "-");
	else
		strbuf_addf(b, "%04d-%02d-%02d %02d:%02d:%02dZ", tm.tm_year + 1900, tm.tm_mon + 1,
		    tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static void add_bytes(struct strbuf *b, uint64_t n)
{
	static const char units[] = "BKMGT";
	double v = (double)n;
	size_t u = 0;

	while (v >= 1024 && units[u + 1]) {
		v /= 1024;
		u++;
	}
	strbuf_addf(b, u == 0 ? "%.0f%c" : "%.1f%c", v, units[u]);
}

/* C0 and C1 control characters: what a terminal obeys. */
static bool is_control(uint32_t cp)
{
	return cp < 0x20 || (cp >= 0x7f && cp < 0xa0);
}

/* Text for people: control characters and what is no character become '?'. */
static void add_text(struct strbuf *b, struct span s)
{
	while (s.n > 0) {
		struct span before = s;
		uint32_t cp;

		if (!utf8_take(&s, &cp) || is_control(cp))
			strbuf_add_chr(b, '?');
		else
			strbuf_add(b, span_sub(before, 0, before.n - s.n));
	}
}

/* A limit of 0 is none. */
static bool is_no_limit(const struct ipc_value *v)
{
	return v->number == 0 &&
	       (span_eq(v->name, SPAN("quota")) || span_eq(v->name, SPAN("quota-messages")));
}

static void add_cell(struct strbuf *b, const struct ipc_value *v)
{
	if (v->type != IPC_TEXT && is_no_limit(v)) {
		strbuf_add_str(b, "none");
		return;
	}
	switch (v->type) {
	case IPC_TEXT:
		add_text(b, v->text.n > 0 ? v->text : SPAN("-"));
		break;
	case IPC_BOOL:
		strbuf_add_str(b, v->number ? "yes" : "no");
		break;
	case IPC_BYTES:
		add_bytes(b, v->number);
		break;
	case IPC_TIME:
		add_time(b, v->number);
		break;
	default:
		strbuf_add_u64(b, v->number);
		break;
	}
}

static bool same_columns(const struct strbuf *a, const struct strbuf *b)
{
	struct dec x = dec_of(strbuf_span(a));
	struct dec y = dec_of(strbuf_span(b));
	struct ipc_value v, w;

	for (;;) {
		bool has_v = ipc_rec_next(&x, &v);
		bool has_w = ipc_rec_next(&y, &w);

		if (!has_v || !has_w)
			return has_v == has_w;
		if (!span_eq(v.name, w.name))
			return false;
	}
}

/* Characters a terminal shows for it, near enough: code points. */
static size_t width_of(struct span s)
{
	size_t n = 0;
	uint32_t cp;

	while (s.n > 0) {
		(void)utf8_take(&s, &cp);
		n++;
	}
	return n;
}

static void measure(const struct records *r, size_t from, size_t to, size_t *widths)
{
	for (size_t i = from; i < to; i++) {
		struct dec d = dec_of(strbuf_span(&r->list[i]));
		struct ipc_value v;

		for (size_t c = 0; c < COLUMNS_MAX && ipc_rec_next(&d, &v); c++) {
			struct strbuf cell;
			size_t width;

			strbuf_init(&cell, IPC_BODY_MAX);
			add_cell(&cell, &v);
			width = width_of(strbuf_span(&cell));
			if (width < width_of(v.name))
				width = width_of(v.name);
			if (width > widths[c])
				widths[c] = width;
			strbuf_clear(&cell);
		}
	}
}

static void put_padded(struct span s, size_t width, bool is_last)
{
	size_t n = width_of(s);

	fwrite(s.p, 1, s.n, stdout);
	for (; !is_last && n < width + 2; n++)
		putchar(' ');
}

static void print_row(const struct strbuf *record, const size_t *widths, bool is_heading)
{
	struct dec d = dec_of(strbuf_span(record));
	struct ipc_value v;

	for (size_t c = 0; c < COLUMNS_MAX && ipc_rec_next(&d, &v); c++) {
		struct strbuf cell;

		strbuf_init(&cell, IPC_BODY_MAX);
		if (is_heading)
			for (size_t i = 0; i < v.name.n; i++)
				strbuf_add_chr(&cell, ascii_upper(v.name.p[i]));
		else
			add_cell(&cell, &v);
		put_padded(strbuf_span(&cell), widths[c], d.in.n == 0);
		strbuf_clear(&cell);
	}
	putchar('\n');
}

static bool is_wide(const size_t *widths)
{
	size_t sum = 0;

	for (size_t c = 0; c < COLUMNS_MAX && widths[c] > 0; c++)
		sum += widths[c] + 2;
	return sum > LINE_MAX_WIDTH;
}

/* One field a line. */
static void print_fields(const struct strbuf *record)
{
	struct dec d = dec_of(strbuf_span(record));
	struct ipc_value v;
	size_t width = 0;

	while (ipc_rec_next(&d, &v))
		width = v.name.n > width ? v.name.n : width;
	d = dec_of(strbuf_span(record));
	while (ipc_rec_next(&d, &v)) {
		struct strbuf cell;

		strbuf_init(&cell, IPC_BODY_MAX);
		add_cell(&cell, &v);
		put_padded(v.name, width, false);
		put_padded(strbuf_span(&cell), 0, true);
		putchar('\n');
		strbuf_clear(&cell);
	}
}

/* A text called "pem" or "zone" that is all of a record is for other programs: as it is, but no
 * control characters. */
static bool print_pem(const struct strbuf *record)
{
	struct dec d = dec_of(strbuf_span(record));
	struct ipc_value v;

	if (!ipc_rec_next(&d, &v) || d.in.n > 0 || v.type != IPC_TEXT ||
	    (!span_eq(v.name, SPAN("pem")) && !span_eq(v.name, SPAN("zone"))))
		return false;
	for (size_t i = 0; i < v.text.n; i++)
		if (v.text.p[i] == '\n' || !ascii_is_ctl(v.text.p[i]))
			putchar(v.text.p[i]);
	return true;
}

void print_tables(const struct records *r)
{
	for (size_t from = 0; from < r->count;) {
		size_t widths[COLUMNS_MAX] = {0};
		size_t to = from + 1;

		if (print_pem(&r->list[from])) {
			from = to;
			continue;
		}
		while (to < r->count && same_columns(&r->list[from], &r->list[to]))
			to++;
		measure(r, from, to, widths);
		if (from > 0)
			putchar('\n');
		if (to == from + 1 && is_wide(widths)) {
			print_fields(&r->list[from]);
			from = to;
			continue;
		}
		print_row(&r->list[from], widths, true);
		for (size_t i = from; i < to; i++)
			print_row(&r->list[i], widths, false);
		from = to;
	}
}

static struct span text_value(const struct strbuf *record, const char *name)
{
	struct dec d = dec_of(strbuf_span(record));
	struct ipc_value v;

	while (ipc_rec_next(&d, &v))
		if (v.type == IPC_TEXT && span_eq(v.name, span_of(name)))
			return v.text;
	return SPAN("");
}

static void put_text(struct span s)
{
	struct strbuf b;

	strbuf_init(&b, IPC_BODY_MAX);
	add_text(&b, s);
	fwrite(b.p, 1, b.n, stdout);
	strbuf_clear(&b);
}

void print_settings(const struct records *r, bool has_help)
{
	for (size_t i = 0; i < r->count; i++) {
		struct span origin = text_value(&r->list[i], "origin");

		put_text(text_value(&r->list[i], "name"));
		fputs(" = ", stdout);
		put_text(text_value(&r->list[i], "value"));
		if (!span_eq(origin, SPAN("default"))) {
			fputs("   # ", stdout);
			put_text(origin);
		}
		putchar('\n');
		if (has_help) {
			put_text(text_value(&r->list[i], "help"));
			putchar('\n');
		}
	}
}

void print_silent(const struct records *r)
{
	for (size_t i = 0; i < r->count; i++) {
		struct span process = text_value(&r->list[i], "process");

		if (process.n == 0)
			continue;
		put_text(process);
		fputs(" takes it when it runs again: ", stdout);
		put_text(text_value(&r->list[i], "reason"));
		putchar('\n');
	}
}

void print_json_string(struct span s)
{
	putchar('"');
	while (s.n > 0) {
		struct span before = s;
		uint32_t cp;

		if (!utf8_take(&s, &cp))
			fputs("\\ufffd", stdout);
		else if (cp == '"' || cp == '\\')
			printf("\\%c", (char)cp);
		else if (is_control(cp))
			printf("\\u%04x", (unsigned)cp);
		else
			fwrite(before.p, 1, before.n - s.n, stdout);
	}
	putchar('"');
}

static void print_json_value(const struct ipc_value *v)
{
	if (v->type == IPC_TEXT)
		print_json_string(v->text);
	else if (v->type == IPC_BOOL)
		fputs(v->number ? "true" : "false", stdout);
	else
		printf("%llu", (unsigned long long)v->number);
}

void print_json(const struct records *r)
{
	putchar('[');
	for (size_t i = 0; i < r->count; i++) {
		struct dec d = dec_of(strbuf_span(&r->list[i]));
		struct ipc_value v;
		bool is_first = true;

		fputs(i > 0 ? ",\n {" : "{", stdout);
		while (ipc_rec_next(&d, &v)) {
			if (!is_first)
				fputs(", ", stdout);
			is_first = false;
			print_json_string(v.name);
			fputs(": ", stdout);
			print_json_value(&v);
		}
		putchar('}');
	}
	fputs("]\n", stdout);
}
