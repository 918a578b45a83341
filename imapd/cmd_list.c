/*
 * LIST and LSUB: RFC 3501 sections 6.3.8 and 6.3.9, with selection and return options (RFC 5258),
 * CHILDREN (RFC 3348), SPECIAL-USE (RFC 6154) and LIST-STATUS (RFC 5819). Names are collected and
 * matched on a reader thread, and written from the loop as fast as the client takes them.
 */
#include "imapd/imap.h"
#include "imapd/list_match.h"
#include "imapd/mailbox.h"

#include "common/base/mem.h"
#include "common/mail/mutf7.h"

#include <stdlib.h>

#define PATTERNS_MAX 64
#define ENTRIES_MAX 200000
#define PATTERN_BYTES_MAX (4 * STORE_NAME_MAX)

enum list_option {
	SELECT_SUBSCRIBED = 1u << 0,
	SELECT_REMOTE = 1u << 1, /* there is none: changes nothing */
	SELECT_RECURSIVEMATCH = 1u << 2,
	SELECT_SPECIAL_USE = 1u << 3,
	RETURN_SUBSCRIBED = 1u << 4,
	RETURN_CHILDREN = 1u << 5,    /* always told */
	RETURN_SPECIAL_USE = 1u << 6, /* always told */
	RETURN_STATUS = 1u << 7,
	IS_LSUB = 1u << 8,
	IS_EXTENDED = 1u << 9,
};

/* A name that may be answered. */
struct list_entry {
	struct span name;
	const struct store_mailbox
	    *mb; /* NULL: only subscribed to, or only a level above such one */
	bool is_subscribed;
	bool is_match, is_percent_match;           /* percent: of a pattern that ends in '%' */
	bool has_selected_below, has_hidden_below; /* hidden: selected, but not answered itself */
	struct mailbox_status status;
};

struct list_task {
	struct task task;
	unsigned options, items;
	struct list_pattern *patterns; /* the command's */
	size_t pattern_count;
	struct store_mailbox *mailboxes;
	size_t mailbox_count;
	struct strbuf names; /* of subscriptions */
	struct list_entry *entries;
	size_t count, cap;
	size_t next; /* to be written */
};

static struct list_task *list_task_of(struct task *t)
{
	return container_of(t, struct list_task, task);
}

static void list_clear(struct task *t)
{
	struct list_task *l = list_task_of(t);

	mem_free(l->mailboxes);
	mem_free(l->entries);
	strbuf_clear(&l->names);
}

/* --- collecting: on a reader thread ------------------------------------------------------------
 */
static struct list_entry *entry_add(struct list_task *l, struct span name)
{
	if (l->count == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 64;
		l->entries = mem_grow(l->entries, l->cap, sizeof(*l->entries));
	}
	l->entries[l->count] = (struct list_entry){.name = name};
	return &l->entries[l->count++];
}

static int entry_cmp(const void *a, const void *b)
{
	const struct list_entry *x = a, *y = b;

	return span_cmp(x->name, y->name);
}

/* Index of the first of n entries with a name >= name. */
static size_t entry_search(const struct list_task *l, struct span name)
{
	size_t low = 0, high = l->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (span_cmp(l->entries[mid].name, name) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct list_entry *entry_find(struct list_task *l, struct span name)
{
	size_t i = entry_search(l, name);

	return i < l->count && span_eq(l->entries[i].name, name) ? &l->entries[i] : NULL;
}

static void keep_name(void *arg, struct span name)
{
	struct list_task *l = arg;

	enc_bytes(&l->names, name);
}

/* Levels above a name that is not there, as far as the name before it does not share them. */
static void add_levels(struct list_task *l, struct span name, struct span before)
{
	size_t shared = 0;

	while (shared < name.n && shared < before.n && name.p[shared] == before.p[shared])
		shared++;
	for (size_t i = shared; i < name.n; i++)
		if (name.p[i] == '/')
			entry_add(l, span_sub(name, 0, i));
}

/* Subscriptions whose mailboxes are gone, and the levels above them. */
static int add_subscriptions(struct list_task *l, struct db_txn *txn, struct err *err)
{
	struct span name, before = SPAN("");
	struct dec d;
	size_t known = l->count, out = 0;

	if (store_subscription_list(txn, l->task.session->account, keep_name, l, err) < 0)
		return -1;
	d = dec_of(strbuf_span(&l->names));
	while (d.in.n > 0 && dec_ok(&d)) {
		struct list_entry *e;
		size_t all = l->count;

		name = dec_bytes(&d);
		l->count = known;
		e = entry_find(l, name);
		l->count = all;
		if (e)
			continue;
		if (l->count > ENTRIES_MAX)
			return err_set(err, ERR_LIMIT, "too many subscriptions");
		entry_add(l, name)->is_subscribed = true;
		add_levels(l, name, before);
		before = name;
	}
	qsort(l->entries, l->count, sizeof(*l->entries), entry_cmp);
	for (size_t i = 1; i < l->count; i++) {
		struct list_entry *e = &l->entries[i], *last = &l->entries[out];

		if (!span_eq(e->name, last->name)) {
			l->entries[++out] = *e;
			continue;
		}
		if (e->mb)
			last->mb = e->mb;
		last->is_subscribed |= e->is_subscribed;
	}
	l->count = l->count ? out + 1 : 0;
	return 0;
}

static void match(struct list_task *l, struct list_entry *e)
{
	for (size_t i = 0; i < l->pattern_count && !e->is_percent_match; i++) {
		if (!list_pattern_matches(&l->patterns[i], e->name))
			continue;
		e->is_match = true;
		e->is_percent_match = l->patterns[i].ends_in_percent;
	}
}

static bool is_selected(const struct list_task *l, const struct list_entry *e)
{
	if ((l->options & (SELECT_SUBSCRIBED | IS_LSUB)) ? !e->is_subscribed : !e->mb)
		return false;
	return !(l->options & SELECT_SPECIAL_USE) || (e->mb && e->mb->special_use);
}

/* Tells the levels above a selected name that there is one below. */
static void mark_levels(struct list_task *l, const struct list_entry *e)
{
	for (size_t i = 0; i < e->name.n; i++) {
		struct list_entry *above;

		if (e->name.p[i] != '/')
			continue;
		above = entry_find(l, span_sub(e->name, 0, i));
		if (!above)
			continue;
		above->has_selected_below = true;
		above->has_hidden_below |= !e->is_match;
	}
}

static bool is_answered(const struct list_task *l, const struct list_entry *e)
{
	if (!e->is_match)
		return false;
	if (is_selected(l, e))
		return true;
	if (l->options & IS_LSUB)
		return e->is_percent_match && e->has_hidden_below;
	return (l->options & SELECT_RECURSIVEMATCH) && e->has_hidden_below;
}

static bool has_status(const struct list_task *l, const struct list_entry *e)
{
	return (l->options & RETURN_STATUS) && e->mb && !e->mb->is_noselect && is_selected(l, e);
}

static int collect(struct list_task *l, struct db_txn *txn, struct err *err)
{
	uint64_t account = l->task.session->account;

	if (store_mailbox_list(txn, account, &l->mailboxes, &l->mailbox_count, err) < 0)
		return -1;
	for (size_t i = 0; i < l->mailbox_count; i++) {
		struct list_entry *e = entry_add(l, span_of(l->mailboxes[i].name));

		e->mb = &l->mailboxes[i];
		e->is_subscribed = e->mb->is_subscribed;
	}
	return (l->options & (SELECT_SUBSCRIBED | IS_LSUB)) ? add_subscriptions(l, txn, err) : 0;
}

static void list_read(struct task *t, struct db_txn *txn, struct err *err)
{
	struct list_task *l = list_task_of(t);
	size_t out = 0;

	if (collect(l, txn, err) < 0)
		return;
	for (size_t i = 0; i < l->count; i++)
		match(l, &l->entries[i]);
	if (l->options & (SELECT_RECURSIVEMATCH | IS_LSUB))
		for (size_t i = 0; i < l->count; i++)
			if (is_selected(l, &l->entries[i]))
				mark_levels(l, &l->entries[i]);
	for (size_t i = 0; i < l->count; i++) {
		struct list_entry *e = &l->entries[i];

		if (!is_answered(l, e))
			continue;
		if (has_status(l, e) &&
		    status_load(txn, t->session->account, e->mb, l->items, &e->status, err) < 0)
			return;
		l->entries[out++] = *e;
	}
	l->count = out;
}

/* --- writing ---------------------------------------------------------------------------------- */
struct word_writer {
	struct strbuf *b;
	const char *sep;
};

static void word(struct word_writer *w, const char *text)
{
	strbuf_add_str(w->b, w->sep);
	strbuf_add_str(w->b, text);
	w->sep = " ";
}

static void write_special_uses(struct word_writer *w, uint32_t use)
{
	static const struct {
		uint32_t use;
		const char *name;
	} names[] = {
	    {SPECIAL_ALL, "\\All"},
	    {SPECIAL_ARCHIVE, "\\Archive"},
	    {SPECIAL_DRAFTS, "\\Drafts"},
	    {SPECIAL_FLAGGED, "\\Flagged"},
	    {SPECIAL_JUNK, "\\Junk"},
	    {SPECIAL_SENT, "\\Sent"},
	    {SPECIAL_TRASH, "\\Trash"},
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (use & names[i].use)
			word(w, names[i].name);
}

/* LSUB tells only what its RFC knows. */
static void write_attributes(
    struct strbuf *b, const struct list_task *l, const struct list_entry *e)
{
	struct word_writer w = {b, ""};
	const struct store_mailbox *mb = e->mb;

	if (l->options & IS_LSUB) {
		if (!e->is_subscribed || (mb && mb->is_noselect))
			word(&w, "\\Noselect");
		return;
	}
	if (!mb)
		word(&w, "\\NonExistent");
	else if (mb->is_noselect)
		word(&w, "\\Noselect");
	if (mb)
		word(&w, mb->has_children ? "\\HasChildren" : "\\HasNoChildren");
	if (e->is_subscribed && (l->options & (SELECT_SUBSCRIBED | RETURN_SUBSCRIBED)))
		word(&w, "\\Subscribed");
	if (mb)
		write_special_uses(&w, mb->special_use);
}

static void write_entry(
    struct strbuf *b, const struct list_task *l, const struct list_entry *e, uint64_t append_limit)
{
	bool is_utf8 = l->task.session->has_utf8;

	strbuf_add_str(b, l->options & IS_LSUB ? "* LSUB (" : "* LIST (");
	write_attributes(b, l, e);
	strbuf_add_str(b, ") \"/\" ");
	write_mailbox(b, e->name, is_utf8);
	if ((l->options & SELECT_RECURSIVEMATCH) && e->has_selected_below) {
		struct word_writer w = {b, ""};

		strbuf_add_str(b, " (\"CHILDINFO\" (");
		if (l->options & SELECT_SUBSCRIBED)
			word(&w, "\"SUBSCRIBED\"");
		if (l->options & SELECT_SPECIAL_USE)
			word(&w, "\"SPECIAL-USE\"");
		strbuf_add_str(b, "))");
	}
	strbuf_add_str(b, "\r\n");
	if (has_status(l, e))
		write_status(b, e->mb, &e->status, l->items, append_limit, is_utf8);
}

static void list_go_on(struct session *s)
{
	struct list_task *l = list_task_of(s->task);
	uint64_t append_limit = config_u64(s->cfg, SET_SMTP_MESSAGE_MAX);
	struct strbuf b;

	strbuf_init(&b, SLICE_BYTES + 16 * 1024);
	while (l->next < l->count && session_flow(s, list_go_on)) {
		strbuf_reset(&b);
		while (l->next < l->count && b.n < SLICE_BYTES)
			write_entry(&b, l, &l->entries[l->next++], append_limit);
		conn_write(s->conn, strbuf_span(&b));
	}
	strbuf_clear(&b);
	if (l->next < l->count)
		return;
	task_free(&l->task);
	finish_sync(s, true, "OK Listed");
}

static void list_done(struct task *t)
{
	struct session *s = t->session;
	struct err err = t->err;

	if (err.code == ERR_NONE) {
		list_go_on(s);
		return;
	}
	task_free(t);
	finish_err(s, &err);
}

/* --- parsing ---------------------------------------------------------------------------------- */
struct option_name {
	struct span name;
	unsigned option;
};

static const struct option_name select_names[] = {
    {SPAN_INIT("SUBSCRIBED"), SELECT_SUBSCRIBED},
    {SPAN_INIT("REMOTE"), SELECT_REMOTE},
    {SPAN_INIT("RECURSIVEMATCH"), SELECT_RECURSIVEMATCH},
    {SPAN_INIT("SPECIAL-USE"), SELECT_SPECIAL_USE},
};

static const struct option_name return_names[] = {
    {SPAN_INIT("SUBSCRIBED"), RETURN_SUBSCRIBED},
    {SPAN_INIT("CHILDREN"), RETURN_CHILDREN},
    {SPAN_INIT("SPECIAL-USE"), RETURN_SPECIAL_USE},
    {SPAN_INIT("STATUS"), RETURN_STATUS},
};

/* "(OPTION ...)", maybe empty. */
static bool parse_options(struct parser *p, const struct option_name *names, size_t count,
    unsigned *options, unsigned *items)
{
	struct span name;

	if (!parse_chr(p, '('))
		return false;
	if (parse_chr(p, ')'))
		return true;
	do {
		unsigned option = 0;

		if (!parse_atom(p, &name))
			return false;
		for (size_t i = 0; i < count; i++)
			if (span_ieq(name, names[i].name))
				option = names[i].option;
		if (!option ||
		    (option == RETURN_STATUS && (!parse_sp(p) || !parse_status_items(p, items))))
			return false;
		*options |= option;
	} while (parse_sp(p));
	return parse_chr(p, ')');
}

/* Decodes and normalises; what is no name in any coding matches nothing. */
static void decode(struct strbuf *out, struct span raw, bool is_utf8)
{
	if (is_utf8 || !mail_mutf7_to_utf8(out, raw))
		strbuf_add(out, raw);
}

static bool add_pattern(struct session *s, struct list_task *l, struct span ref, struct span raw)
{
	struct strbuf text, nfc;
	bool is_good = true;

	strbuf_init(&text, 2 * PATTERN_BYTES_MAX);
	strbuf_init(&nfc, PATTERN_BYTES_MAX);
	decode(&text, ref, s->has_utf8);
	decode(&text, raw, s->has_utf8);
	if (!text.failed && mail_utf8_nfc(&nfc, strbuf_span(&text)) && nfc.n <= LIST_PATTERN_MAX) {
		is_good = list_pattern_compile(
		    &l->patterns[l->pattern_count], &s->arena, strbuf_span(&nfc));
		l->pattern_count += is_good;
	}
	strbuf_clear(&text);
	strbuf_clear(&nfc);
	return is_good;
}

/* One pattern, or several in parentheses. */
static bool parse_patterns(
    struct session *s, struct parser *p, struct list_task *l, struct span ref, bool *is_empty)
{
	struct span raw;
	size_t n = 0;

	l->patterns = arena_array(&s->arena, PATTERNS_MAX, sizeof(*l->patterns));
	if (!l->patterns)
		return false;
	if ((l->options & IS_LSUB) || !parse_chr(p, '(')) {
		if (!parse_list_mailbox(p, &raw))
			return false;
		*is_empty = raw.n == 0;
		return add_pattern(s, l, ref, raw);
	}
	l->options |= IS_EXTENDED;
	do {
		if (n++ == PATTERNS_MAX || !parse_list_mailbox(p, &raw) ||
		    !add_pattern(s, l, ref, raw))
			return false;
	} while (parse_sp(p));
	return parse_chr(p, ')');
}

static bool parse_list(
    struct session *s, struct parser *p, struct list_task *l, struct span *ref, bool *is_empty)
{
	struct span name;

	if (p->in.n > 0 && p->in.p[0] == '(' && !(l->options & IS_LSUB)) {
		l->options |= IS_EXTENDED;
		if (!parse_options(p, select_names, ARRAY_LEN(select_names), &l->options, NULL) ||
		    !parse_sp(p))
			return false;
	}
	if (!parse_astring(p, ref) || !parse_sp(p) || !parse_patterns(s, p, l, *ref, is_empty))
		return false;
	if (!(l->options & IS_LSUB) && parse_sp(p)) {
		l->options |= IS_EXTENDED;
		if (!parse_atom(p, &name) || !span_ieq(name, SPAN("RETURN")) || !parse_sp(p) ||
		    !parse_options(
			p, return_names, ARRAY_LEN(return_names), &l->options, &l->items))
			return false;
	}
	/* RFC 5258 section 3.1: it modifies another option, it is none by itself. */
	if ((l->options & SELECT_RECURSIVEMATCH) &&
	    !(l->options & (SELECT_SUBSCRIBED | SELECT_SPECIAL_USE)))
		return false;
	return parse_end(p);
}

static void list(struct session *s, struct parser *p, unsigned options)
{
	struct list_task *l = task_new(s, sizeof(*l));
	struct span ref;
	bool is_empty = false;

	l->options = options;
	strbuf_init(&l->names, SIZE_MAX / 2);
	l->task.read = list_read;
	l->task.done = list_done;
	l->task.clear = list_clear;
	if (!parse_list(s, p, l, &ref, &is_empty)) {
		task_free(&l->task);
		finish_bad(s, options & IS_LSUB
				  ? "LSUB reference pattern"
				  : "LIST [(option...)] reference pattern [RETURN ...]");
		return;
	}
	/* The question for the delimiter (RFC 3501 section 6.3.8). */
	if (is_empty && !(l->options & IS_EXTENDED)) {
		task_free(&l->task);
		untagged(s, "%s (\\Noselect) \"/\" \"\"", options & IS_LSUB ? "LSUB" : "LIST");
		finish_sync(s, true, "OK Listed");
		return;
	}
	task_read(&l->task);
}

void cmd_list(struct session *s, struct parser *p)
{
	list(s, p, 0);
}

void cmd_lsub(struct session *s, struct parser *p)
{
	list(s, p, IS_LSUB);
}
