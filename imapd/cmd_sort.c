/* SORT (RFC 5256), SORT=DISPLAY (RFC 5957), ESORT (RFC 5267). */
#include "common/base/mem.h"
#include "common/log/log.h"
#include "imapd/facts.h"
#include "imapd/search.h"

#include <stdlib.h>
#include <string.h>

#define KEYS_MAX 32
#define PIECE (16 * 1024)

/* Keys beside the texts of facts. */
enum { KEY_ARRIVAL = FACT_TEXTS, KEY_SENT, KEY_SIZE };

struct sort_key {
	int what; /* enum fact_text, or KEY_* */
	bool is_reverse;
};

/* A message to be sorted; first is the first key as a number, or how its text begins. */
struct sort_row {
	uint64_t first;
	uint32_t index; /* in the snapshot */
	uint32_t row;   /* in the facts */
};

struct sort {
	struct searching x;
	struct search_returns returns;
	struct sort_key keys[KEYS_MAX];
	size_t key_count;
	unsigned columns;
	struct facts *facts; /* NULL: the snapshot has all that is needed */
	struct facts_load load;
	struct sort_row *rows;
	size_t at; /* rows told */
};

static void sort_clear(struct searching *x)
{
	struct sort *c = container_of(x, struct sort, x);

	facts_load_clear(&c->load);
	facts_free(c->facts);
	mem_free(c->rows);
}

/* --- comparing
 * ------------------------------------------------------------------------------------ */
static uint64_t number_of(const struct sort *c, const struct sort_row *r, int what)
{
	const struct store_message *m = &c->x.snap->messages[r->index];

	switch (what) {
	case KEY_ARRIVAL:
		return (uint64_t)m->internaldate ^ 1ULL << 63;
	case KEY_SENT:
		/* Whoever sorts by it has the facts. */
		return c->facts ? (uint64_t)c->facts->sent[r->row] ^ 1ULL << 63 : 0;
	default:
		return m->size;
	}
}

static struct span text_of(const struct sort *c, const struct sort_row *r, int what)
{
	return facts_text(c->facts, (enum fact_text)what, r->row);
}

static uint64_t first_of(const struct sort *c, const struct sort_row *r)
{
	unsigned char begin[8] = {0};
	struct span text;
	uint64_t v;

	if (c->keys[0].what >= FACT_TEXTS) {
		v = number_of(c, r, c->keys[0].what);
	} else {
		text = span_sub(text_of(c, r, c->keys[0].what), 0, sizeof(begin));
		memcpy(begin, text.p, text.n);
		v = be_get64(begin);
	}
	return c->keys[0].is_reverse ? ~v : v;
}

static int compare_key(
    const struct sort *c, const struct sort_row *a, const struct sort_row *b, int what)
{
	uint64_t x, y;

	if (what < FACT_TEXTS)
		return span_cmp(text_of(c, a, what), text_of(c, b, what));
	x = number_of(c, a, what);
	y = number_of(c, b, what);
	return x < y ? -1 : x > y;
}

static int compare(const void *va, const void *vb, void *arg)
{
	const struct sort_row *a = va, *b = vb;
	const struct sort *c = arg;

	if (a->first != b->first)
		return a->first < b->first ? -1 : 1;
	for (size_t i = 0; i < c->key_count; i++) {
		int d = compare_key(c, a, b, c->keys[i].what);

		if (d != 0)
			return c->keys[i].is_reverse ? -d : d;
	}
	return a->index < b->index ? -1 : 1;
}

static void order(struct sort *c)
{
	size_t n = 0, row = 0;

	c->rows = mem_array(c->x.count + 1, sizeof(*c->rows));
	for (size_t i = c->x.first; n < c->x.count; i++) {
		struct sort_row *r = &c->rows[n];

		if (!searching_is_hit(&c->x, i))
			continue;
		r->index = (uint32_t)i;
		if (c->facts)
			r->row = (uint32_t)facts_row(c->facts, c->x.snap->messages[i].uid, &row);
		r->first = first_of(c, r);
		n++;
	}
	qsort_r(c->rows, n, sizeof(*c->rows), compare, c);
}

/* --- the answer
 * ------------------------------------------------------------------------------------- */
static uint32_t told(const struct sort *c, size_t i)
{
	uint32_t index = c->rows[i].index;

	return c->x.task.session->is_uid ? c->x.snap->messages[index].uid : index + 1;
}

static void end(struct sort *c)
{
	struct session *s = c->x.task.session;
	const char *text = searching_result(&c->x, "OK Sorted");
	bool is_uid = s->is_uid;

	task_free(&c->x.task);
	finish_sync(s, is_uid, text);
}

static void tell_more(struct session *s)
{
	struct sort *c = container_of(s->task, struct sort, x.task);
	bool is_list = !c->returns.is_extended || (c->returns.what & RETURN_ALL);
	struct strbuf b;

	strbuf_init(&b, PIECE + 64);
	while (is_list && c->at < c->x.count) {
		strbuf_reset(&b);
		for (; c->at < c->x.count && b.n < PIECE; c->at++) {
			if (!c->returns.is_extended)
				strbuf_add_chr(&b, ' ');
			else
				strbuf_add(&b, c->at ? SPAN(",") : SPAN(" ALL "));
			strbuf_add_u64(&b, told(c, c->at));
		}
		conn_write(s->conn, strbuf_span(&b));
		if (!session_flow(s, tell_more)) {
			strbuf_clear(&b);
			return;
		}
	}
	strbuf_reset(&b);
	search_write_modseq(&c->x, c->returns.is_extended, &b);
	strbuf_add(&b, SPAN("\r\n"));
	conn_write(s->conn, strbuf_span(&b));
	strbuf_clear(&b);
	end(c);
}

static void tell(struct sort *c)
{
	struct session *s = c->x.task.session;

	if (c->returns.is_extended)
		search_tell_extended(&c->x, &c->returns, c->x.count ? told(c, 0) : 0,
		    c->x.count ? told(c, c->x.count - 1) : 0);
	else
		conn_write(s->conn, SPAN("* SORT"));
	tell_more(s);
}

/* --- the work
 * --------------------------------------------------------------------------------------- */
static void sort_read(struct task *t, struct db_txn *txn, struct err *err)
{
	struct sort *c = container_of(t, struct sort, x.task);

	if (c->facts && facts_load_slice(&c->load, txn, err) != 0)
		return;
	order(c);
}

static void sort_done(struct task *t)
{
	struct sort *c = container_of(t, struct sort, x.task);
	struct session *s = t->session;
	struct err err = t->err;

	if (err.code != ERR_NONE) {
		task_free(t);
		finish_err(s, &err);
		return;
	}
	if (!c->rows) {
		task_read(t);
		return;
	}
	if (c->facts && c->load.failed)
		log_error("imap-sort", LOG_STR("session", s->id), LOG_U64("account", s->account),
		    LOG_U64("messages", c->load.failed));
	else if (c->facts) {
		facts_give(c->facts, s->view->mbox);
		c->facts = NULL;
	}
	if (c->returns.what & RETURN_SAVE)
		search_save(&c->x, &c->returns, c->x.count ? c->rows[0].index : 0,
		    c->x.count ? c->rows[c->x.count - 1].index : 0);
	if (c->returns.what == RETURN_SAVE)
		end(c);
	else
		tell(c);
}

static void found(struct searching *x)
{
	struct sort *c = container_of(x, struct sort, x);
	struct session *s = x->task.session;

	if (c->columns) {
		c->facts = facts_take(s->view->mbox);
		facts_load_init(&c->load, s->server->store, c->facts, x->snap, c->columns);
	}
	x->task.read = sort_read;
	x->task.done = sort_done;
	task_read(&x->task);
}

/* --- the arguments
 * ------------------------------------------------------------------------------------ */
static const struct {
	struct span name;
	int what;
	unsigned column;
} key_names[] = {
    {SPAN_INIT("ARRIVAL"), KEY_ARRIVAL, 0},
    {SPAN_INIT("SIZE"), KEY_SIZE, 0},
    {SPAN_INIT("DATE"), KEY_SENT, FACT_SENT},
    {SPAN_INIT("SUBJECT"), FACT_SUBJECT, 1u << FACT_SUBJECT},
    {SPAN_INIT("FROM"), FACT_FROM, 1u << FACT_FROM},
    {SPAN_INIT("TO"), FACT_TO, 1u << FACT_TO},
    {SPAN_INIT("CC"), FACT_CC, 1u << FACT_CC},
    {SPAN_INIT("DISPLAYFROM"), FACT_DISPLAYFROM, 1u << FACT_DISPLAYFROM},
    {SPAN_INIT("DISPLAYTO"), FACT_DISPLAYTO, 1u << FACT_DISPLAYTO},
};

static bool parse_key(struct parser *p, struct sort *c)
{
	struct sort_key *k = &c->keys[c->key_count];
	struct span word;

	if (c->key_count == KEYS_MAX || !parse_atom(p, &word))
		return false;
	k->is_reverse = span_ieq(word, SPAN("REVERSE"));
	if (k->is_reverse && (!parse_sp(p) || !parse_atom(p, &word)))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(key_names); i++) {
		if (!span_ieq(word, key_names[i].name))
			continue;
		k->what = key_names[i].what;
		c->columns |= key_names[i].column;
		c->key_count++;
		return true;
	}
	return false;
}

static bool parse_keys(struct parser *p, struct sort *c)
{
	if (!parse_chr(p, '('))
		return false;
	do {
		if (!parse_key(p, c))
			return false;
	} while (parse_sp(p));
	return parse_chr(p, ')') && parse_sp(p);
}

void cmd_sort(struct session *s, struct parser *p)
{
	struct sort *c = searching_new(s, sizeof(*c));
	struct span charset;

	c->x.found = found;
	c->x.clear = sort_clear;
	if (!search_parse_returns(p, &c->returns) || !parse_keys(p, c) ||
	    !parse_astring(p, &charset) || !parse_sp(p)) {
		task_free(&c->x.task);
		finish_bad(s, "SORT needs sort keys, a charset and search keys");
		return;
	}
	c->x.saves = c->returns.what & RETURN_SAVE;
	searching_start(&c->x, p, charset);
}
