/* What a session knows of its selected mailbox: UIDs behind sequence numbers, flags, \Recent. */
#include "common/base/mem.h"
#include "imapd/imap.h"

/* Messages that nobody was shown as \Recent yet become this view's. */
void view_claim_recent(struct view *v)
{
	struct mbox *m = v->mbox;

	if (v->is_read_only || v->snap->uidnext <= m->recent_next)
		return;
	uidset_add_range(&v->recent, m->recent_next, v->snap->uidnext - 1);
	m->recent_next = v->snap->uidnext;
}

struct view *view_open(struct session *s, struct mbox *m, bool is_read_only)
{
	struct view *v = mem_zalloc(sizeof(*v));

	v->session = s;
	v->mbox = m;
	v->snap = store_snapshot_ref(m->latest);
	v->is_read_only = is_read_only;
	uidset_init(&v->recent);
	if (is_read_only)
		uidset_add_range(&v->recent, m->recent_next, UINT32_MAX);
	list_append(&m->views, &v->link);
	s->view = v;
	s->state = SELECTED;
	view_claim_recent(v);
	mbox_keep_recent(m);
	v->recent_told = view_recent_count(v);
	v->keywords_told = v->snap->keyword_count;
	return v;
}

void view_close(struct session *s)
{
	struct view *v = s->view;
	struct mbox *m = v->mbox;

	telling_clear(s);
	refresh_cancel(&s->refresh);
	s->view = NULL;
	s->state = AUTHENTICATED;
	list_remove(&v->link);
	store_snapshot_unref(v->snap);
	store_snapshot_unref(v->base);
	uidset_clear(&v->recent);
	uidset_clear(&v->saved);
	mem_free(v);
	mbox_release(m);
}

void view_expect(
    struct session *s, bool is_silent, struct uidset *uids, const struct store_flags_change *change)
{
	uidset_clear(&s->expected.uids);
	s->expected.is_set = true;
	s->expected.is_silent = is_silent;
	s->expected.uids = *uids;
	s->expected.change = *change;
	uidset_init(uids);
}

/* --- flags ------------------------------------------------------------------------------------ */
static const struct {
	uint32_t flag;
	const char *name;
} flag_names[] = {
    {FLAG_ANSWERED, "\\Answered"},
    {FLAG_FLAGGED, "\\Flagged"},
    {FLAG_DELETED, "\\Deleted"},
    {FLAG_SEEN, "\\Seen"},
    {FLAG_DRAFT, "\\Draft"},
};

static void write_name(struct strbuf *b, size_t start, const char *name)
{
	if (b->n > start)
		strbuf_add_chr(b, ' ');
	strbuf_add_str(b, name);
}

void write_flags(struct strbuf *b, const struct store_snapshot *snap, const struct store_message *m,
    bool is_recent)
{
	size_t start;

	strbuf_add_chr(b, '(');
	start = b->n;
	for (size_t i = 0; i < ARRAY_LEN(flag_names); i++)
		if (m->flags & flag_names[i].flag)
			write_name(b, start, flag_names[i].name);
	for (size_t i = 0; i < snap->keyword_count; i++)
		if (m->keywords & (UINT64_C(1) << i))
			write_name(b, start, snap->keywords[i]);
	if (is_recent)
		write_name(b, start, "\\Recent");
	strbuf_add_chr(b, ')');
}

void write_flags_list(struct session *s, const struct store_snapshot *snap)
{
	const char *more = snap->keyword_count < STORE_KEYWORDS_MAX ? " \\*" : "";
	struct strbuf b;

	strbuf_init(&b, 16 * 1024);
	for (size_t i = 0; i < ARRAY_LEN(flag_names); i++)
		write_name(&b, 0, flag_names[i].name);
	for (size_t i = 0; i < snap->keyword_count; i++)
		write_name(&b, 0, snap->keywords[i]);
	untagged(s, "FLAGS (%s)", b.p);
	if (s->view->is_read_only)
		untagged(s, "OK [PERMANENTFLAGS ()] Read-only mailbox");
	else
		untagged(s, "OK [PERMANENTFLAGS (%s%s)] Flags permitted", b.p, more);
	strbuf_clear(&b);
}

bool message_is_recent(const struct view *v, const struct store_message *m)
{
	return uidset_has(&v->recent, m->uid);
}

size_t view_recent_count(const struct view *v)
{
	size_t n = 0;

	for (size_t i = 0; i < v->recent.n; i++) {
		const struct uid_range *r = &v->recent.r[i];

		n += (r->last == UINT32_MAX ? v->snap->count
					    : store_snapshot_search(v->snap, r->last + 1)) -
		     store_snapshot_search(v->snap, r->first);
	}
	return n;
}

/* --- sequence sets ---------------------------------------------------------------------------- */
/* Sequence numbers first to last, 0 being '*', as a range of UIDs. */
static bool add_numbers(const struct store_snapshot *snap, struct uid_range r, struct uidset *out)
{
	size_t first = r.first ? r.first : snap->count;
	size_t last = r.last ? r.last : snap->count;

	if (first > last) {
		size_t swap = first;

		first = last;
		last = swap;
	}
	if (first < 1 || last > snap->count)
		return false;
	uidset_add_range(out, snap->messages[first - 1].uid, snap->messages[last - 1].uid);
	return true;
}

/* UIDs that are not there are no error (RFC 3501 section 6.4.8). */
static void add_uids(const struct store_snapshot *snap, struct uid_range r, struct uidset *out)
{
	uint32_t end = snap->count ? snap->messages[snap->count - 1].uid : 0;
	uint32_t first = r.first ? r.first : end;
	uint32_t last = r.last ? r.last : end;

	if (first > last) {
		uint32_t swap = first;

		first = last;
		last = swap;
	}
	if (last > end)
		last = end;
	if (first >= 1 && first <= last)
		uidset_add_range(out, first, last);
}

bool view_select(struct session *s, const struct sequence *seq, bool is_uid, struct uidset *out)
{
	const struct store_snapshot *snap = s->view->snap;
	const struct uidset *saved = &s->view->saved;

	for (size_t i = 0; seq->is_saved && i < saved->n; i++)
		uidset_add_range(out, saved->r[i].first, saved->r[i].last);
	for (size_t i = 0; i < seq->n; i++) {
		if (is_uid)
			add_uids(snap, seq->r[i], out);
		else if (!add_numbers(snap, seq->r[i], out))
			return false;
	}
	uidset_sort(out);
	return true;
}
