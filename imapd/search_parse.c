/* The arguments of SEARCH. */
#include "common/base/mem.h"
#include "common/mail/date.h"
#include "imapd/search.h"

#include <string.h>

enum argument {
	ARG_NONE,
	ARG_STRING,
	ARG_HEADER, /* astring SP astring */
	ARG_DATE,
	ARG_NUMBER,
	ARG_KEYWORD,
	ARG_UIDS,
	ARG_MODSEQ,
	ARG_ID,
};

static const struct key_name {
	struct span name;
	enum search_op op;
	enum argument argument;
	unsigned more; /* flag, relation or envelope item */
	bool is_wanted;
} names[] = {
    {SPAN_INIT("ALL"), SEARCH_ALL, ARG_NONE, 0, true},
    {SPAN_INIT("ANSWERED"), SEARCH_FLAG, ARG_NONE, FLAG_ANSWERED, true},
    {SPAN_INIT("DELETED"), SEARCH_FLAG, ARG_NONE, FLAG_DELETED, true},
    {SPAN_INIT("DRAFT"), SEARCH_FLAG, ARG_NONE, FLAG_DRAFT, true},
    {SPAN_INIT("FLAGGED"), SEARCH_FLAG, ARG_NONE, FLAG_FLAGGED, true},
    {SPAN_INIT("SEEN"), SEARCH_FLAG, ARG_NONE, FLAG_SEEN, true},
    {SPAN_INIT("UNANSWERED"), SEARCH_FLAG, ARG_NONE, FLAG_ANSWERED, false},
    {SPAN_INIT("UNDELETED"), SEARCH_FLAG, ARG_NONE, FLAG_DELETED, false},
    {SPAN_INIT("UNDRAFT"), SEARCH_FLAG, ARG_NONE, FLAG_DRAFT, false},
    {SPAN_INIT("UNFLAGGED"), SEARCH_FLAG, ARG_NONE, FLAG_FLAGGED, false},
    {SPAN_INIT("UNSEEN"), SEARCH_FLAG, ARG_NONE, FLAG_SEEN, false},
    {SPAN_INIT("NEW"), SEARCH_NEW, ARG_NONE, 0, true},
    {SPAN_INIT("RECENT"), SEARCH_RECENT, ARG_NONE, 0, true},
    {SPAN_INIT("OLD"), SEARCH_RECENT, ARG_NONE, 0, false},
    {SPAN_INIT("KEYWORD"), SEARCH_KEYWORD, ARG_KEYWORD, 0, true},
    {SPAN_INIT("UNKEYWORD"), SEARCH_KEYWORD, ARG_KEYWORD, 0, false},
    {SPAN_INIT("BEFORE"), SEARCH_DATE, ARG_DATE, SEARCH_BEFORE, true},
    {SPAN_INIT("ON"), SEARCH_DATE, ARG_DATE, SEARCH_ON, true},
    {SPAN_INIT("SINCE"), SEARCH_DATE, ARG_DATE, SEARCH_SINCE, true},
    {SPAN_INIT("SENTBEFORE"), SEARCH_SENTDATE, ARG_DATE, SEARCH_BEFORE, true},
    {SPAN_INIT("SENTON"), SEARCH_SENTDATE, ARG_DATE, SEARCH_ON, true},
    {SPAN_INIT("SENTSINCE"), SEARCH_SENTDATE, ARG_DATE, SEARCH_SINCE, true},
    {SPAN_INIT("SAVEDBEFORE"), SEARCH_SAVEDATE, ARG_DATE, SEARCH_BEFORE, true},
    {SPAN_INIT("SAVEDON"), SEARCH_SAVEDATE, ARG_DATE, SEARCH_ON, true},
    {SPAN_INIT("SAVEDSINCE"), SEARCH_SAVEDATE, ARG_DATE, SEARCH_SINCE, true},
    {SPAN_INIT("SAVEDATESUPPORTED"), SEARCH_ALL, ARG_NONE, 0, true},
    {SPAN_INIT("YOUNGER"), SEARCH_YOUNGER, ARG_NUMBER, 0, true},
    {SPAN_INIT("OLDER"), SEARCH_OLDER, ARG_NUMBER, 0, true},
    {SPAN_INIT("LARGER"), SEARCH_LARGER, ARG_NUMBER, 0, true},
    {SPAN_INIT("SMALLER"), SEARCH_SMALLER, ARG_NUMBER, 0, true},
    {SPAN_INIT("MODSEQ"), SEARCH_MODSEQ, ARG_MODSEQ, 0, true},
    {SPAN_INIT("EMAILID"), SEARCH_EMAILID, ARG_ID, 'M', true},
    {SPAN_INIT("THREADID"), SEARCH_THREADID, ARG_ID, 'T', true},
    {SPAN_INIT("UID"), SEARCH_UIDS, ARG_UIDS, 0, true},
    {SPAN_INIT("SUBJECT"), SEARCH_ENVELOPE, ARG_STRING, MAIL_ENVELOPE_SUBJECT, true},
    {SPAN_INIT("FROM"), SEARCH_ENVELOPE, ARG_STRING, MAIL_ENVELOPE_FROM, true},
    {SPAN_INIT("TO"), SEARCH_ENVELOPE, ARG_STRING, MAIL_ENVELOPE_TO, true},
    {SPAN_INIT("CC"), SEARCH_ENVELOPE, ARG_STRING, MAIL_ENVELOPE_CC, true},
    {SPAN_INIT("BCC"), SEARCH_ENVELOPE, ARG_STRING, MAIL_ENVELOPE_BCC, true},
    {SPAN_INIT("HEADER"), SEARCH_HEADER, ARG_HEADER, 0, true},
    {SPAN_INIT("BODY"), SEARCH_BODY, ARG_STRING, 0, true},
    {SPAN_INIT("TEXT"), SEARCH_TEXT, ARG_STRING, 0, true},
};

/* Groups that are not closed yet. */
struct open_group {
	uint32_t key;
	unsigned missing; /* keys of OR and NOT; 0: a list, up to its parenthesis or the end */
};

struct parsing {
	struct session *s;
	struct parser *p;
	struct span charset;
	struct search_program *g;
	size_t capacity;
	struct open_group open[SEARCH_DEPTH_MAX];
	size_t depth;
	size_t ranges;          /* in the sets of all keys */
	enum search_parsed why; /* it failed */
};

static bool give_up(struct parsing *x, enum search_parsed why)
{
	x->why = why;
	return false;
}

/* A new key below the innermost open group. */
static struct search_key *add_key(struct parsing *x, enum search_op op)
{
	struct search_program *g = x->g;
	struct search_key *k;
	uint32_t i = (uint32_t)g->count;

	if (g->count == x->capacity) {
		size_t more = x->capacity * 4;
		struct search_key *keys =
		    more > SEARCH_KEYS_MAX ? NULL : arena_array(x->p->arena, more, sizeof(*keys));

		if (!keys) {
			give_up(x, SEARCH_TOO_LONG);
			return NULL;
		}
		memcpy(keys, g->keys, g->count * sizeof(*keys));
		g->keys = keys;
		x->capacity = more;
	}
	k = &g->keys[g->count++];
	k->op = op;
	k->is_wanted = true;
	if (op > g->most)
		g->most = op;
	if (x->depth > 0) {
		struct search_key *parent = &g->keys[x->open[x->depth - 1].key];

		if (parent->last)
			g->keys[parent->last].next = i;
		else
			parent->first = i;
		parent->last = i;
	}
	return k;
}

static bool open_group(struct parsing *x, enum search_op op, unsigned missing)
{
	if (x->depth == SEARCH_DEPTH_MAX)
		return give_up(x, SEARCH_TOO_LONG);
	if (!add_key(x, op))
		return false;
	x->open[x->depth++] = (struct open_group){(uint32_t)x->g->count - 1, missing};
	return true;
}

/* A text to search for: in UTF-8, folded. */
static bool take_text(struct parsing *x, struct search_key *k)
{
	struct span raw;
	struct strbuf utf8, folded;
	bool is_good;

	if (!parse_astring(x->p, &raw))
		return give_up(x, SEARCH_BAD);
	strbuf_init(&utf8, COMMAND_MAX);
	strbuf_init(&folded, SEARCH_TEXT_MAX);
	is_good = mail_charset_to_utf8(&utf8, x->charset, raw) &&
		  mail_casefold(&folded, strbuf_span(&utf8)) &&
		  arena_copy(x->p->arena, strbuf_span(&folded), &k->text);
	strbuf_clear(&utf8);
	strbuf_clear(&folded);
	if (!is_good)
		return give_up(x, SEARCH_TOO_LONG);
	if (k->text.n > 0 && (k->op == SEARCH_BODY || k->op == SEARCH_TEXT)) {
		if (x->g->bodies++ == SEARCH_BODIES_MAX)
			return give_up(x, SEARCH_TOO_LONG);
		k->matcher = mail_matcher_new(k->text);
	}
	return true;
}

static bool take_keyword(struct parsing *x, struct search_key *k)
{
	const struct store_snapshot *snap = x->s->view->snap;
	struct span name;

	if (!parse_atom(x->p, &name))
		return give_up(x, SEARCH_BAD);
	k->number = 0; /* a keyword that no message has */
	for (size_t i = 0; i < snap->keyword_count; i++)
		if (span_ieq(name, span_of(snap->keywords[i])))
			k->number = UINT64_C(1) << i;
	return true;
}

/* Ranges of numbers with their '*' made max (nothing if that is 0), sorted. */
static bool resolve(const struct sequence *seq, uint32_t max, struct uidset *out)
{
	for (size_t i = 0; i < seq->n; i++) {
		uint32_t a = seq->r[i].first ? seq->r[i].first : max;
		uint32_t b = seq->r[i].last ? seq->r[i].last : max;

		if (a == 0 || b == 0)
			continue;
		uidset_add_range(out, a < b ? a : b, a < b ? b : a);
	}
	uidset_sort(out);
	return !out->failed;
}

static bool take_set(struct parsing *x, struct search_key *k)
{
	const struct store_snapshot *snap = x->s->view->snap;
	uint32_t max = (uint32_t)snap->count;
	struct sequence seq;
	bool is_good;

	if (!parse_sequence(x->p, &seq))
		return give_up(x, SEARCH_BAD);
	if (seq.is_saved)
		k->op = SEARCH_UIDS;
	else if (k->op == SEARCH_UIDS)
		max = snap->count ? snap->messages[snap->count - 1].uid : 0;
	is_good =
	    seq.is_saved ? view_select(x->s, &seq, true, &k->set) : resolve(&seq, max, &k->set);
	if (k->op > x->g->most)
		x->g->most = k->op;
	/* A "$" is one byte, and a set of any size: thousands of them share the room of one. */
	x->ranges += k->set.n;
	return (is_good && x->ranges <= UIDSET_MAX) || give_up(x, SEARCH_TOO_LONG);
}

/* "[entry-name SP entry-type SP] number" (RFC 7162 section 3.1.5); all entries have one modseq. */
static bool take_modseq(struct parsing *x, struct search_key *k)
{
	struct span entry;

	if (x->p->in.n > 0 && x->p->in.p[0] == '"') {
		if (!parse_string(x->p, &entry) || !span_istarts(entry, SPAN("/flags/")) ||
		    !(span_take_iword(&x->p->in, SPAN(" all ")) ||
			span_take_iword(&x->p->in, SPAN(" priv ")) ||
			span_take_iword(&x->p->in, SPAN(" shared "))))
			return false;
	}
	x->g->has_modseq = true;
	return parse_number(x->p, INT64_MAX, &k->number);
}

static bool take_id(struct parsing *x, struct search_key *k, char letter)
{
	struct span id;

	if (!parse_atom(x->p, &id))
		return false;
	/* Another one than ours is nobody's. */
	if (!span_take_chr(&id, letter) || !span_u64(id, UINT64_MAX, &k->number))
		k->op = SEARCH_NONE;
	return true;
}

static bool take_argument(struct parsing *x, struct search_key *k, const struct key_name *n)
{
	struct span text;
	bool is_good = true;

	if (n->argument != ARG_NONE && !parse_sp(x->p))
		return give_up(x, SEARCH_BAD);
	switch (n->argument) {
	case ARG_NONE:
		break;
	case ARG_HEADER:
		is_good = parse_astring(x->p, &k->name) && parse_sp(x->p);
		k->is_kept = is_good && cache_keeps(&k->name, 1);
		return is_good ? take_text(x, k) : give_up(x, SEARCH_BAD);
	case ARG_STRING:
		return take_text(x, k);
	case ARG_KEYWORD:
		return take_keyword(x, k);
	case ARG_UIDS:
		return take_set(x, k);
	case ARG_DATE:
		is_good = parse_astring(x->p, &text) && mail_day_parse(text, &k->day);
		break;
	case ARG_NUMBER:
		is_good = parse_number(x->p, UINT32_MAX, &k->number);
		break;
	case ARG_MODSEQ:
		is_good = take_modseq(x, k);
		break;
	case ARG_ID:
		is_good = take_id(x, k, (char)n->more);
		break;
	}
	return is_good || give_up(x, SEARCH_BAD);
}

static const struct key_name *find_name(struct span word)
{
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (span_ieq(word, names[i].name))
			return &names[i];
	return NULL;
}

static bool take_leaf(struct parsing *x, struct span word)
{
	const struct key_name *n = find_name(word);
	struct search_key *k;

	if (!n)
		return give_up(x, SEARCH_BAD);
	k = add_key(x, n->op);
	if (!k)
		return false;
	k->is_wanted = n->is_wanted;
	k->flag = n->op == SEARCH_FLAG ? n->more : 0;
	k->relation = n->argument == ARG_DATE ? (enum search_relation)n->more : SEARCH_ON;
	x->g->has_sent |= n->op == SEARCH_SENTDATE;
	if (n->op == SEARCH_SENTDATE && x->g->item_count < MAIL_ENVELOPE_DATE + 1)
		x->g->item_count = MAIL_ENVELOPE_DATE + 1;
	if (n->op == SEARCH_ENVELOPE && x->g->item_count < (int)n->more + 1)
		x->g->item_count = (int)n->more + 1;
	k->item =
	    n->op == SEARCH_ENVELOPE ? (enum mail_envelope_item)n->more : MAIL_ENVELOPE_SUBJECT;
	return take_argument(x, k, n);
}

/* A key, or the beginning of a group: then *is_open. */
static bool take_key(struct parsing *x, bool *is_open)
{
	struct parser *p = x->p;
	struct search_key *k;
	struct span word;

	*is_open = true;
	if (parse_chr(p, '('))
		return open_group(x, SEARCH_AND, 0);
	if (span_take_iword(&p->in, SPAN("OR ")))
		return open_group(x, SEARCH_OR, 2);
	if (span_take_iword(&p->in, SPAN("NOT ")))
		return open_group(x, SEARCH_NOT, 1);
	*is_open = false;
	if (p->in.n > 0 && (ascii_is_digit(p->in.p[0]) || p->in.p[0] == '*' || p->in.p[0] == '$')) {
		k = add_key(x, SEARCH_NUMBERS);
		return k && take_set(x, k);
	}
	return parse_atom(p, &word) ? take_leaf(x, word) : give_up(x, SEARCH_BAD);
}

/* After a key: closes what is complete. */
static bool close_groups(struct parsing *x, bool *is_end)
{
	*is_end = false;
	while (true) {
		struct open_group *top = &x->open[x->depth - 1];

		if (top->missing > 0) {
			if (--top->missing > 0)
				break;
		} else if (x->depth == 1) {
			*is_end = parse_end(x->p);
			break;
		} else if (!parse_chr(x->p, ')')) {
			break;
		}
		x->depth--;
	}
	return *is_end || parse_sp(x->p) || give_up(x, SEARCH_BAD);
}

static bool take_charset(struct parsing *x)
{
	if (!span_take_iword(&x->p->in, SPAN("CHARSET ")))
		return true;
	/* With UTF8=ACCEPT all is UTF-8 already (RFC 6855 section 3). */
	if (x->s->has_utf8 || !parse_astring(x->p, &x->charset) || !parse_sp(x->p))
		return give_up(x, SEARCH_BAD);
	return true;
}

static bool take_all(struct parsing *x)
{
	bool is_open, is_end = false;

	if (!x->charset.p && !take_charset(x))
		return false;
	if (!mail_charset_is_known(x->charset))
		return give_up(x, SEARCH_BADCHARSET);
	if (!open_group(x, SEARCH_AND, 0))
		return false;
	while (!is_end)
		if (!take_key(x, &is_open) || (!is_open && !close_groups(x, &is_end)))
			return false;
	return true;
}

enum search_parsed search_parse(
    struct session *s, struct parser *p, struct span charset, struct search_program *out)
{
	struct parsing x = {.s = s, .p = p, .charset = charset, .g = out, .capacity = 15};

	*out = (struct search_program){.keys = arena_array(p->arena, 15, sizeof(*out->keys))};
	if (!out->keys)
		return SEARCH_TOO_LONG;
	return take_all(&x) ? SEARCH_GOOD : x.why;
}

void search_program_clear(struct search_program *g)
{
	for (size_t i = 0; i < g->count; i++) {
		uidset_clear(&g->keys[i].set);
		mail_matcher_free(g->keys[i].matcher);
	}
	g->count = 0;
}
