/* Does a message match? */
#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/mail/date.h"
#include "imapd/search.h"

#include <string.h>

#define COST_ROW 20    /* a cache row looked up */
#define COST_MAX 80000 /* of one slice: no more keys of this message then */

void search_state_init(struct search_state *st, struct session *s, struct store_snapshot *snap,
    struct search_program *g)
{
	*st = (struct search_state){.program = g, .snap = snap, .now = clock_now()};
	for (size_t i = 0; i < s->view->recent.n; i++)
		uidset_add_range(
		    &st->recent, s->view->recent.r[i].first, s->view->recent.r[i].last);
	message_init(&st->m, store_blobs(s->server->store), snap->account);
	st->answers = mem_array(g->count, sizeof(*st->answers));
	st->needed = mem_array(g->count, sizeof(*st->needed));
	strbuf_init(&st->raw, (size_t)2 * MESSAGE_WHOLE_MAX);
	strbuf_init(&st->decoded, (size_t)2 * MESSAGE_WHOLE_MAX);
	strbuf_init(&st->utf8, (size_t)8 * MESSAGE_WHOLE_MAX);
	strbuf_init(&st->folded, (size_t)16 * MESSAGE_WHOLE_MAX);
}

void search_state_clear(struct search_state *st)
{
	if (!st->snap)
		return;
	search_body_end(st);
	uidset_clear(&st->recent);
	message_clear(&st->m);
	mem_free(st->answers);
	mem_free(st->needed);
	strbuf_clear(&st->raw);
	strbuf_clear(&st->decoded);
	strbuf_clear(&st->utf8);
	strbuf_clear(&st->folded);
}

/* --- keys that the snapshot answers ------------------------------------------------------------
 */
static bool is_day(const struct search_key *k, int64_t day)
{
	switch (k->relation) {
	case SEARCH_BEFORE:
		return day < k->day;
	case SEARCH_ON:
		return day == k->day;
	default:
		return day >= k->day;
	}
}

static bool ask_snapshot(
    const struct search_state *st, const struct search_key *k, const struct store_message *m)
{
	size_t index = (size_t)(m - st->snap->messages);

	switch (k->op) {
	case SEARCH_FLAG:
		return ((m->flags & k->flag) != 0) == k->is_wanted;
	case SEARCH_KEYWORD:
		return ((m->keywords & k->number) != 0) == k->is_wanted;
	case SEARCH_RECENT:
		return uidset_has(&st->recent, m->uid) == k->is_wanted;
	case SEARCH_NEW:
		return !(m->flags & FLAG_SEEN) && uidset_has(&st->recent, m->uid);
	case SEARCH_NUMBERS:
		return uidset_has(&k->set, (uint32_t)index + 1);
	case SEARCH_UIDS:
		return uidset_has(&k->set, m->uid);
	case SEARCH_DATE:
		return is_day(k, mail_day_of(m->internaldate, 0));
	case SEARCH_SAVEDATE:
		return is_day(k, mail_day_of(m->savedate, 0));
	case SEARCH_YOUNGER:
		return m->internaldate >= st->now - (int64_t)k->number;
	case SEARCH_OLDER:
		return m->internaldate <= st->now - (int64_t)k->number;
	case SEARCH_LARGER:
		return m->size > k->number;
	case SEARCH_SMALLER:
		return m->size < k->number;
	case SEARCH_MODSEQ:
		return m->modseq >= k->number;
	case SEARCH_EMAILID:
		return m->object == k->number;
	default:
		return k->op == SEARCH_ALL;
	}
}

/* --- the tree -----------------------------------------------------------------------------------
 */
static bool is_group(const struct search_key *k)
{
	return k->op <= SEARCH_NOT;
}

/* AND is decided by a false one, OR by a true one; otherwise the unknown count. */
static enum search_answer answer_group(const struct search_state *st, const struct search_key *k)
{
	const struct search_key *keys = st->program->keys;
	signed char deciding = k->op == SEARCH_AND ? SEARCH_FALSE : SEARCH_TRUE;
	bool has_unknown = false;

	if (k->op == SEARCH_NOT) {
		signed char a = st->answers[k->first];

		return a == SEARCH_UNKNOWN ? SEARCH_UNKNOWN : a ? SEARCH_FALSE : SEARCH_TRUE;
	}
	for (uint32_t i = k->first; i; i = keys[i].next) {
		if (st->answers[i] == deciding)
			return (enum search_answer)deciding;
		has_unknown |= st->answers[i] == SEARCH_UNKNOWN;
	}
	if (has_unknown)
		return SEARCH_UNKNOWN;
	return deciding == SEARCH_FALSE ? SEARCH_TRUE : SEARCH_FALSE;
}

static enum search_answer answer_tree(struct search_state *st)
{
	for (size_t i = st->program->count; i-- > 0;)
		if (is_group(&st->program->keys[i]))
			st->answers[i] = (signed char)answer_group(st, &st->program->keys[i]);
	return (enum search_answer)st->answers[0];
}

/* Which keys still matter: those below groups that are undecided all the way up. */
static void find_needed(struct search_state *st)
{
	const struct search_key *keys = st->program->keys;

	memset(st->needed, 0, st->program->count * sizeof(*st->needed));
	st->needed[0] = st->answers[0] == SEARCH_UNKNOWN;
	for (size_t i = 0; i < st->program->count; i++) {
		if (!st->needed[i] || !is_group(&keys[i]))
			continue;
		for (uint32_t k = keys[i].first; k; k = keys[k].next)
			st->needed[k] = st->answers[k] == SEARCH_UNKNOWN;
	}
}

/* --- keys that the object's rows answer ---------------------------------------------------------
 */
/* The items of the envelope: 0, 1, -1. */
static int read_items(struct search_state *st, struct err *err)
{
	int rc = message_cache(&st->m, err);

	if (rc != 0 || st->has_items)
		return rc;
	if (!mail_envelope_items(st->m.cache.envelope, st->items, st->program->item_count))
		memset(st->items, 0, sizeof(st->items));
	st->has_items = true;
	return 0;
}

static bool is_sent(struct search_state *st, const struct search_key *k)
{
	struct span item = st->items[MAIL_ENVELOPE_DATE], text;
	int64_t time;
	int zone;

	strbuf_reset(&st->raw);
	return mail_take_nstring(&item, &st->raw, &text) && text.p &&
	       mail_date_parse(text, &time, &zone) && is_day(k, mail_day_of(time, zone));
}

/* "Name <local@domain>" of each address, as mail programs show it. */
static bool match_addresses(struct search_state *st, struct span item, struct span text)
{
	struct mail_envelope_address a;
	struct strbuf scratch;
	bool is_found = false;

	strbuf_init(&scratch, item.n);
	strbuf_reset(&st->raw);
	while (mail_envelope_address(&item, &scratch, &a)) {
		if (st->raw.n > 0)
			strbuf_add(&st->raw, SPAN(", "));
		if (a.name.p) {
			strbuf_add(&st->raw, a.name);
			strbuf_add_chr(&st->raw, ' ');
		}
		if (a.domain.p) {
			strbuf_add_chr(&st->raw, '<');
			strbuf_add(&st->raw, a.route);
			if (a.route.n > 0)
				strbuf_add_chr(&st->raw, ':');
			strbuf_add(&st->raw, a.local);
			strbuf_add_chr(&st->raw, '@');
			strbuf_add(&st->raw, a.domain);
			strbuf_add_chr(&st->raw, '>');
		} else if (a.local.p) {
			strbuf_add(&st->raw, a.local);
			strbuf_add_chr(&st->raw, ':');
		}
		strbuf_reset(&scratch);
	}
	is_found = search_value(st, strbuf_span(&st->raw), text);
	strbuf_clear(&scratch);
	return is_found;
}

static bool match_envelope(struct search_state *st, const struct search_key *k)
{
	struct span item = st->items[k->item], text;

	if (k->item != MAIL_ENVELOPE_SUBJECT)
		return item.n > 0 && item.p[0] == '(' && match_addresses(st, item, k->text);
	strbuf_reset(&st->raw);
	return mail_take_nstring(&item, &st->raw, &text) && text.p &&
	       search_value(st, text, k->text);
}

static int ask_rows(struct search_state *st, struct search_key *k, struct err *err)
{
	uint64_t thread;
	int rc;

	if (k->op == SEARCH_THREADID) {
		st->cost += COST_ROW;
		if (store_object_thread(st->m.txn, st->m.account, st->m.object, &thread, err) < 0)
			return -1;
		return thread == k->number;
	}
	if (k->op == SEARCH_SENTDATE && st->facts) {
		int32_t day = st->facts->days[facts_row(
		    st->facts, st->snap->messages[st->index].uid, &st->fact_row)];

		return day != FACT_NO_DAY && is_day(k, day);
	}
	st->cost += COST_ROW;
	st->dates += k->op == SEARCH_SENTDATE;
	rc = read_items(st, err);
	if (rc != 0)
		return rc < 0 ? -1 : SEARCH_UNKNOWN;
	return k->op == SEARCH_SENTDATE ? is_sent(st, k) : match_envelope(st, k);
}

/* All needed keys of one level. 0, 1 (more to do), -1. */
static int answer_rows(struct search_state *st, struct err *err)
{
	for (size_t i = 0; i < st->program->count; i++) {
		struct search_key *k = &st->program->keys[i];
		int rc;

		if (!st->needed[i] || k->op < SEARCH_THREADID || k->op > SEARCH_ENVELOPE)
			continue;
		rc = ask_rows(st, k, err);
		if (rc < 0)
			return -1;
		if (rc == SEARCH_UNKNOWN)
			return 1;
		st->answers[i] = (signed char)rc;
		if (k->op == SEARCH_ENVELOPE)
			st->cost += st->items[k->item].n / 200;
		if (st->cost > COST_MAX)
			return 1;
	}
	return 0;
}

/* --- a message ----------------------------------------------------------------------------------
 */
static void begin(struct search_state *st, size_t index)
{
	const struct store_message *m = &st->snap->messages[index];
	const struct search_program *g = st->program;

	st->in_message = true;
	st->index = index;
	st->has_items = false;
	st->header_at = 0;
	for (size_t i = 0; i < g->count; i++) {
		const struct search_key *k = &g->keys[i];

		if (k->op >= SEARCH_THREADID)
			st->answers[i] = SEARCH_UNKNOWN;
		else if (!is_group(k))
			st->answers[i] = ask_snapshot(st, k, m);
	}
	if (g->most >= SEARCH_THREADID)
		message_set(&st->m, m->object, m->size);
	st->cost += 1 + g->count / 8;
}

int search_match(struct search_state *st, size_t index, struct err *err)
{
	static int (*const levels[])(struct search_state * st, struct err * err) = {
	    answer_rows, search_headers, search_bodies};
	enum search_answer a;

	if (!st->in_message)
		begin(st, index);
	/* What a slice before this one read of the row is gone with its transaction. */
	st->has_items = false;
	a = answer_tree(st);
	for (size_t i = 0; a == SEARCH_UNKNOWN && i < ARRAY_LEN(levels); i++) {
		int rc;

		find_needed(st);
		rc = levels[i](st, err);
		if (rc == 1)
			return SEARCH_UNKNOWN;
		if (rc < 0) {
			st->in_message = false;
			search_body_end(st);
			return -1;
		}
		a = answer_tree(st);
	}
	st->in_message = false;
	return a == SEARCH_TRUE;
}
