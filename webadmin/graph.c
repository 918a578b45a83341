/* Small graphs, drawn here: a bar for each hour. */
#include "webadmin/web.h"

#define BAR 6
#define GAP 2
#define HEIGHT 60

static uint64_t most(const struct answer *a, const char *name, uint64_t *total)
{
	uint64_t max = 0;

	*total = 0;
	for (size_t i = 0; i < a->count; i++) {
		uint64_t n = answer_number(a, i, name);

		*total += n;
		if (n > max)
			max = n;
	}
	return max;
}

static void bar(struct html *h, const struct answer *a, size_t i, const char *name, uint64_t max)
{
	uint64_t n = answer_number(a, i, name);
	/* What is not nothing can be seen. */
	unsigned height = n == 0 ? 0 : 2 + (unsigned)((double)n / (double)max * (HEIGHT - 2));

	if (n == 0)
		return;
	strbuf_addf(&h->out, "<rect x=\"%zu\" y=\"%u\" width=\"%d\" height=\"%u\"><title>%llu, ",
	    i * (BAR + GAP), HEIGHT - height, BAR, height, (unsigned long long)n);
	html_clock(h, answer_number(a, i, "time"));
	HTML(h, R("</title></rect>"));
}

void graph(struct html *h, const struct answer *a, const char *name, enum text_id label)
{
	uint64_t total;
	uint64_t max = most(a, name, &total);

	HTML(h, R("<figure><figcaption>"), LID(label), R(" <b>"), N(total), R("</b> <small>"),
	    L(GRAPH_MOST), R(" "), N(max), R("</small></figcaption>"));
	strbuf_addf(&h->out,
	    "<svg class=\"graph %s\" role=\"img\" viewBox=\"0 0 %zu %d\" "
	    "preserveAspectRatio=\"none\" aria-label=\"",
	    name, a->count * (BAR + GAP), HEIGHT + 1);
	HTML(h, LID(label), R(": "), N(total), R("\">"));
	strbuf_addf(&h->out, "<path d=\"M0 %d.5H%zu\"/>", HEIGHT, a->count * (BAR + GAP));
	for (size_t i = 0; max > 0 && i < a->count; i++)
		bar(h, a, i, name, max);
	HTML(h, R("</svg></figure>\n"));
}
