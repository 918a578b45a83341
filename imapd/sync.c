/*
 * Telling a session what changed in its mailbox (RFC 3501 section 7.3 and 7.4, RFC 7162): messages
 * that went, new keywords, how many there are, and changed flags, in this order. A client that does
 * not keep up is waited for, so that a change of 100,000 messages needs no more memory than one.
 */
#include "common/base/mem.h"
#include "imapd/imap.h"

#define LINES_A_LOOK 64 /* lines written between two looks at the client */
#define RANGES_AN_ANSWER 1000

enum phase { TELL_GONE, TELL_COUNTS, TELL_FLAGS };

void telling_clear(struct session *s)
{
	store_snapshot_unref(s->telling.from);
	store_snapshot_unref(s->telling.to);
	s->telling = (struct telling){0};
}

static void write_fetch(
    struct session *s, const struct store_snapshot *snap, size_t i, bool with_flags)
{
	const struct store_message *m = &snap->messages[i];
	const char *space = "";
	struct strbuf b;

	strbuf_init(&b, 16 * 1024);
	if (s->is_uid || s->has_qresync) {
		strbuf_addf(&b, "UID %u", m->uid);
		space = " ";
	}
	if (s->has_condstore) {
		strbuf_addf(&b, "%sMODSEQ (%llu)", space, (unsigned long long)m->modseq);
		space = " ";
	}
	if (with_flags) {
		strbuf_addf(&b, "%sFLAGS ", space);
		write_flags(&b, snap, m, message_is_recent(s->view, m));
	}
	untagged(s, "%zu FETCH (%s)", i + 1, b.p);
	strbuf_clear(&b);
}

void tell_flags(struct session *s, const struct store_snapshot *snap, size_t i)
{
	write_fetch(s, snap, i, true);
}

void tell_vanished(struct session *s, const struct uidset *uids, bool is_earlier)
{
	struct strbuf b;

	strbuf_init(&b, 64 * 1024);
	for (size_t i = 0; i < uids->n; i += RANGES_AN_ANSWER) {
		struct uidset part = {.r = uids->r + i};

		part.n = uids->n - i < RANGES_AN_ANSWER ? uids->n - i : RANGES_AN_ANSWER;
		strbuf_reset(&b);
		uidset_format(&b, &part);
		untagged(s, "VANISHED%s %s", is_earlier ? " (EARLIER)" : "", b.p);
	}
	strbuf_clear(&b);
}

/* --- what went -------------------------------------------------------------------------------- */
static void tell_gone_qresync(struct session *s)
{
	struct telling *t = &s->telling;
	struct uidset gone;
	size_t j = 0;

	uidset_init(&gone);
	for (size_t i = 0; i < t->from->count; i++) {
		uint32_t uid = t->from->messages[i].uid;

		while (j < t->to->count && t->to->messages[j].uid < uid)
			j++;
		if (j == t->to->count || t->to->messages[j].uid != uid)
			uidset_add(&gone, uid);
	}
	tell_vanished(s, &gone, false);
	t->told += uidset_count(&gone);
	uidset_clear(&gone);
}

/* From the end, so that the numbers still to be told stay what they are. False: wait. */
static bool tell_gone_numbers(struct session *s, void (*again)(struct session *s))
{
	struct telling *t = &s->telling;

	/* i and j count what is still to be compared. */
	while (t->i > 0) {
		uint32_t uid = t->from->messages[t->i - 1].uid;

		while (t->j > 0 && t->to->messages[t->j - 1].uid > uid)
			t->j--;
		if (t->j == 0 || t->to->messages[t->j - 1].uid != uid) {
			untagged(s, "%zu EXPUNGE", t->i);
			t->told++;
			if (t->told % LINES_A_LOOK == 0 && !session_flow(s, again)) {
				t->i--;
				return false;
			}
		}
		t->i--;
	}
	return true;
}

static void tell_counts(struct session *s)
{
	struct telling *t = &s->telling;
	struct view *v = s->view;
	size_t recent;

	if (v->keywords_told < t->to->keyword_count)
		write_flags_list(s, t->to);
	v->keywords_told = t->to->keyword_count;
	if (t->to->count != t->from->count - t->told)
		untagged(s, "%zu EXISTS", t->to->count);
	view_claim_recent(v);
	recent = view_recent_count(v);
	if (recent != v->recent_told || t->to->count != t->from->count - t->told)
		untagged(s, "%zu RECENT", recent);
	v->recent_told = recent;
}

/* --- flags ------------------------------------------------------------------------------------ */
/* The keywords of the session's own change, as bits of what the mailbox has now. */
static uint64_t own_keywords(const struct session *s, const struct store_snapshot *snap)
{
	const struct store_flags_change *c = &s->expected.change;
	uint64_t bits = 0;

	for (size_t i = 0; i < c->keyword_count; i++)
		for (size_t k = 0; k < snap->keyword_count; k++)
			if (span_ieq(c->keywords[i], span_of(snap->keywords[k])))
				bits |= UINT64_C(1) << k;
	return bits;
}

/* Is now what the session's own silent change made of old? */
static bool is_as_expected(
    const struct session *s, const struct store_message *old, const struct store_message *now)
{
	const struct store_flags_change *c = &s->expected.change;
	uint64_t keywords = s->telling.keywords;

	switch (c->mode) {
	case FLAGS_SET:
		return (now->flags & FLAGS_ALL) == c->flags && now->keywords == keywords;
	case FLAGS_ADD:
		return now->flags == (old->flags | c->flags) &&
		       now->keywords == (old->keywords | keywords);
	default:
		return now->flags == (old->flags & ~c->flags) &&
		       now->keywords == (old->keywords & ~keywords);
	}
}

/* One message that is in both. */
static bool tell_message(struct session *s, const struct store_message *old, size_t i)
{
	const struct store_message *now = &s->telling.to->messages[i];
	bool has_changed = now->flags != old->flags || now->keywords != old->keywords;
	bool is_own = s->expected.is_set && uidset_has(&s->expected.uids, now->uid);
	bool with_flags = has_changed;

	/* After a silent change the client knows what it made of old: also that nothing changed may
	 * be news, if somebody took it back. Of a message that the change was not made to
	 * (UNCHANGEDSINCE), a MODSEQ alone would look like the change's own. */
	if (is_own)
		with_flags = !s->expected.is_silent || !is_as_expected(s, old, now);
	else if (s->expected.is_set && now->modseq != old->modseq)
		with_flags = true;
	if (!with_flags && !(s->has_condstore && now->modseq != old->modseq))
		return false;
	write_fetch(s, s->telling.to, i, with_flags);
	return true;
}

static bool tell_changes(struct session *s, void (*again)(struct session *s))
{
	struct telling *t = &s->telling;

	while (t->i < t->from->count && t->j < t->to->count) {
		const struct store_message *old = &t->from->messages[t->i];
		const struct store_message *now = &t->to->messages[t->j];

		if (old->uid < now->uid) {
			t->i++;
			continue;
		}
		t->j++;
		if (now->uid < old->uid)
			continue;
		t->i++;
		if ((now->modseq == old->modseq && !s->expected.is_set) ||
		    !tell_message(s, old, t->j - 1))
			continue;
		if (++t->told % LINES_A_LOOK == 0 && !session_flow(s, again))
			return false;
	}
	return true;
}

/* --- all of it -------------------------------------------------------------------------------- */
static void tell(struct session *s)
{
	struct telling *t = &s->telling;
	void (*done)(struct session * s) = t->done;

	if (t->phase == TELL_GONE) {
		if (t->may_expunge && s->has_qresync)
			tell_gone_qresync(s);
		else if (t->may_expunge && !tell_gone_numbers(s, tell))
			return;
		t->phase = TELL_COUNTS;
	}
	if (t->phase == TELL_COUNTS) {
		tell_counts(s);
		t->phase = TELL_FLAGS;
		t->i = t->j = t->told = 0;
	}
	if (!tell_changes(s, tell))
		return;
	telling_clear(s);
	done(s);
}

/* Is the client as far as it may be told? */
static bool is_told(const struct view *v, bool may_expunge)
{
	return v->snap == v->mbox->latest || (!may_expunge && v->base == v->mbox->latest);
}

/* The view moves on to the mailbox as it is now; from is kept until all is told. */
static void move_on(struct view *v, struct telling *t)
{
	struct store_snapshot *latest = v->mbox->latest;

	t->from = v->snap;
	t->to = t->may_expunge ? store_snapshot_ref(latest) : store_snapshot_join(v->snap, latest);
	v->snap = store_snapshot_ref(t->to);
	store_snapshot_unref(v->base);
	v->base = t->to == latest ? NULL : store_snapshot_ref(latest);
}

void view_sync(struct session *s, bool may_expunge, void (*done)(struct session *s))
{
	struct view *v = s->view;
	struct telling *t = &s->telling;

	telling_clear(s);
	if (is_told(v, may_expunge) && !s->expected.is_set) {
		done(s);
		return;
	}
	t->may_expunge = may_expunge;
	move_on(v, t);
	t->i = t->from->count;
	t->j = t->to->count;
	t->done = done;
	if (s->expected.is_set)
		t->keywords = own_keywords(s, t->to);
	tell(s);
}
