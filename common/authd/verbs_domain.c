/* domain ... and alias ...: which addresses are ours, and where they lead. */
#include "common/authd/args.h"
#include "common/authd/dns.h"
#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/mail/date.h"

void verb_domain_add(struct call *call)
{
	struct domain_row row = {.created = (uint64_t)clock_now()};
	char name[MAIL_DOMAIN_MAX + 1];
	struct err err = ERR_INIT;
	struct strbuf b;
	struct db_key key;
	size_t n;

	if (name_domain(call->args[0], name, &n, &err) < 0) {
		call_fail_err(call, &err);
		return;
	}
	if (index_domain(&call->a->index, span_make(name, n))) {
		call_fail(call, ERR_EXISTS, "%s is one of our domains already", name);
		return;
	}
	if (index_domain_alias(&call->a->index, span_make(name, n))) {
		call_fail(
		    call, ERR_EXISTS, "%s is another name of a domain: remove that first", name);
		return;
	}
	strbuf_init(&b, 64);
	row_enc_domain(&b, &row);
	row_key_text(&key, ROW_DOMAIN, span_make(name, n));
	change_put(call_change(call), &key, &b);
	call->after = dkim_after_add;
	call_commit(call, "domain %s added: domain dns %s shows what to publish", name, name);
}

void verb_domain_remove(struct call *call)
{
	char name[MAIL_DOMAIN_MAX + 1];
	struct err err = ERR_INIT;
	struct domain *d;
	struct db_key key;
	size_t n;

	if (name_domain(call->args[0], name, &n, &err) < 0) {
		call_fail_err(call, &err);
		return;
	}
	d = index_domain(&call->a->index, span_make(name, n));
	if (!d) {
		call_fail(call, ERR_NOT_FOUND, "%s is not one of our domains", name);
		return;
	}
	if (d->account_count + d->alias_count > 0) {
		call_fail(call, ERR_BUSY, "%s has %zu accounts and %zu aliases: remove them first",
		    name, d->account_count, d->alias_count);
		return;
	}
	if (d->name_count > 0) {
		call_fail(call, ERR_BUSY, "%s has %zu other names: remove them first", name,
		    d->name_count);
		return;
	}
	row_key_text(&key, ROW_DOMAIN, span_make(name, n));
	change_del(call_change(call), &key);
	call->after = dkim_after_remove;
	call_commit(call, "domain %s removed", name);
}

void verb_domain_list(struct call *call)
{
	size_t n;
	void **all = index_sorted(call->a->index.domains, &n);

	for (size_t i = 0; i < n && i < LIST_PAGE; i++) {
		const struct domain *d = all[i];
		struct strbuf b;

		strbuf_init(&b, 1024);
		ipc_rec_text(&b, "domain", d->name);
		ipc_rec_number(&b, "accounts", IPC_NUMBER, d->account_count);
		ipc_rec_number(&b, "aliases", IPC_NUMBER, d->alias_count);
		ipc_rec_number(&b, "created", IPC_TIME, d->created);
		call_record(call, &b);
	}
	mem_free(all);
	call_ok(call, "%s", "");
}

/* --- aliases -----------------------------------------------------------------------------------
 */
struct targets {
	struct span t[ALIAS_TARGETS_MAX];
	char *text[ALIAS_TARGETS_MAX]; /* owned: canonical forms of the new ones */
	uint32_t n, text_n;
};

static void targets_clear(struct targets *t)
{
	for (uint32_t i = 0; i < t->text_n; i++)
		mem_free(t->text[i]);
	mem_free(t);
}

static ssize_t targets_find(const struct targets *t, struct span address)
{
	for (uint32_t i = 0; i < t->n; i++)
		if (span_eq(t->t[i], address))
			return (ssize_t)i;
	return -1;
}

static int targets_add(struct targets *t, struct span address, struct err *err)
{
	char *copy;

	if (targets_find(t, address) >= 0)
		return 0;
	if (t->n == ALIAS_TARGETS_MAX)
		return err_set(
		    err, ERR_LIMIT, "an alias has at most %d targets", ALIAS_TARGETS_MAX);
	copy = mem_strndup(address.p, address.n);
	t->text[t->text_n++] = copy;
	t->t[t->n++] = span_make(copy, address.n);
	return 0;
}

/* A target is a local address that exists, perhaps with a subaddress, or one on another server. */
static int add_target_arg(struct call *call, struct targets *t, struct span arg, struct err *err)
{
	struct resolver rv = authd_resolver(call->a);
	char text[NAME_TEXT_MAX + 1];
	struct found f;
	struct name nm;
	size_t n;

	if (name_parse(&nm, arg, err) < 0)
		return -1;
	n = name_format(&nm, text);
	resolve_step(&rv, &nm, &f);
	if (!f.is_remote && !found_is_local(&f))
		return err_set(err, ERR_NOT_FOUND, "no such account or alias: %s", text);
	return targets_add(t, span_make(text, n), err);
}

/* In memory for a moment, to see what it would do; then as it was. */
static int check_alias(struct call *call, struct span key, struct span row, bool is_new_name,
    struct span old_row, struct err *err)
{
	struct index *ix = &call->a->index;
	struct resolver rv = authd_resolver(call->a);
	enum row_kind kind;
	struct dec address;
	int rc = index_apply(ix, key, row, err);

	if (rc == 0 && row_key_parse(key, &kind, &address))
		rc = resolve_check(&rv, is_new_name ? index_alias(ix, address.in) : NULL, err);
	if (index_apply(ix, key, old_row, NULL) < 0)
		fatal("an alias could not be put back");
	return rc;
}

/* old is not valid any more when this returns; address must not be its. */
static void write_alias(struct call *call, const struct alias *old, struct span address,
    const struct targets *t, uint64_t until, bool is_new_name)
{
	struct strbuf row, old_row;
	struct err err = ERR_INIT;
	struct db_key key;
	int rc;

	strbuf_init(&row, 128 * 1024);
	strbuf_init(&old_row, 128 * 1024);
	row_enc_alias_until(&row, t->t, t->n, until);
	if (old)
		row_enc_alias_until(&old_row, old->targets, old->count, old->until);
	row_key_text(&key, ROW_ALIAS, address);
	rc = check_alias(call, db_key_span(&key), strbuf_span(&row), is_new_name,
	    old ? strbuf_span(&old_row) : span_of(NULL), &err);
	strbuf_clear(&old_row);
	if (rc < 0) {
		strbuf_clear(&row);
		call_fail_err(call, &err);
		return;
	}
	change_put(call_change(call), &key, &row);
	call_commit(call, "alias %.*s has %u targets", SPAN_FMT(address), t->n);
}

/* "2026-12-31": until the end of that day, UTC; "+7d", "+12h", "+30m": from now; "never". */
static bool take_until(struct call *call, struct span word, uint64_t *until)
{
	uint64_t now = (uint64_t)clock_now(), n, year, month, day;
	struct span s = word;
	char unit;

	if (span_eq(word, SPAN("never"))) {
		*until = 0;
		return true;
	}
	if (span_take_chr(&s, '+') && s.n > 1) {
		unit = s.p[s.n - 1];
		if (span_u64(span_sub(s, 0, s.n - 1), 100000, &n) && n > 0 &&
		    (unit == 'd' || unit == 'h' || unit == 'm')) {
			*until = now + n * (unit == 'd' ? 86400 : unit == 'h' ? 3600 : 60);
			return true;
		}
	}
	if (word.n == 10 && word.p[4] == '-' && word.p[7] == '-' &&
	    span_u64(span_sub(word, 0, 4), 9999, &year) &&
	    span_u64(span_sub(word, 5, 2), 12, &month) && month > 0 &&
	    span_u64(span_sub(word, 8, 2), 31, &day) && day > 0 && year >= 1970) {
		*until = (uint64_t)(mail_days_from_civil((int64_t)year, (int)month, (int)day) + 1) *
			 86400;
		if (*until > now)
			return true;
		call_fail(call, ERR_INVALID, "%.*s is over already", SPAN_FMT(word));
		return false;
	}
	call_fail(call, ERR_INVALID,
	    "--until needs a day (2026-12-31), a time from now (+7d, +12h, +30m) or never");
	return false;
}

/* "--until WHEN" at the end of the arguments is taken off them. */
static bool take_option(struct call *call, uint64_t *until)
{
	if (call->arg_count < 4 || !span_eq(call->args[call->arg_count - 2], SPAN("--until")))
		return true;
	if (!take_until(call, call->args[call->arg_count - 1], until))
		return false;
	call->arg_count -= 2;
	return true;
}

/* An existing alias gets the targets added. */
void verb_alias_add(struct call *call)
{
	uint64_t until = 0;
	struct index *ix = &call->a->index;
	struct resolver rv = authd_resolver(call->a);
	struct targets *t = mem_zalloc(sizeof(*t));
	char text[NAME_TEXT_MAX + 1];
	struct err err = ERR_INIT;
	struct found before;
	struct alias *old = NULL;
	struct name nm;
	size_t n = 0;

	if (name_parse_alias(&nm, call->args[0], &err) < 0)
		goto out;
	n = name_format(&nm, text);
	old = index_alias(ix, span_make(text, n));
	until = old ? old->until : 0;
	if (!take_option(call, &until)) {
		targets_clear(t);
		return;
	}
	if (nm.local_n > 0 && !old && !arg_new_address(call, call->args[0], true, &nm, text)) {
		targets_clear(t);
		return;
	}
	if (!index_domain(ix, name_domain_span(&nm))) {
		err_set(
		    &err, ERR_NOT_FOUND, "%s is not one of our domains: add it first", nm.domain);
		goto out;
	}
	for (uint32_t i = 0; old && i < old->count; i++)
		if (targets_add(t, old->targets[i], &err) < 0)
			goto out;
	for (uint32_t i = 1; i < call->arg_count; i++)
		if (add_target_arg(call, t, call->args[i], &err) < 0)
			goto out;
	/* Targets of other aliases exist: they can lead to a name only if it led somewhere before.
	 */
	resolve_step(&rv, &nm, &before);
	write_alias(
	    call, old, span_make(text, n), t, until, nm.local_n > 0 && !found_is_local(&before));
out:
	targets_clear(t);
	if (err.code != ERR_NONE)
		call_fail_err(call, &err);
}

static struct alias *arg_alias(struct call *call, char text[NAME_TEXT_MAX + 1])
{
	struct err err = ERR_INIT;
	struct alias *al;
	struct name nm;

	if (name_parse_alias(&nm, call->args[0], &err) < 0) {
		call_fail_err(call, &err);
		return NULL;
	}
	al = index_alias(&call->a->index, span_make(text, name_format(&nm, text)));
	if (!al)
		call_fail(call, ERR_NOT_FOUND, "no such alias: %s", text);
	return al;
}

static void remove_targets(struct call *call, struct alias *al, struct span address)
{
	struct targets *t = mem_zalloc(sizeof(*t));
	char text[NAME_TEXT_MAX + 1];
	struct err err = ERR_INIT;
	struct name nm;

	for (uint32_t i = 0; i < al->count; i++)
		targets_add(t, al->targets[i], NULL);
	for (uint32_t i = 1; i < call->arg_count && err.code == ERR_NONE; i++) {
		ssize_t at;

		if (name_parse(&nm, call->args[i], &err) < 0)
			break;
		at = targets_find(t, span_make(text, name_format(&nm, text)));
		if (at < 0)
			err_set(&err, ERR_NOT_FOUND, "%s is not a target of %.*s", text,
			    SPAN_FMT(address));
		else
			t->t[at] = t->t[--t->n];
	}
	if (err.code == ERR_NONE && t->n == 0)
		err_set(&err, ERR_INVALID, "an alias needs a target: remove it as a whole");
	if (err.code == ERR_NONE) {
		/* Fewer ways than before cannot loop, but the check is cheap to keep whole. */
		write_alias(call, al, address, t, al->until, true);
		targets_clear(t);
		return;
	}
	targets_clear(t);
	call_fail_err(call, &err);
}

void verb_alias_remove(struct call *call)
{
	char text[NAME_TEXT_MAX + 1];
	struct alias *al = arg_alias(call, text);
	struct db_key key;

	if (!al)
		return;
	if (call->arg_count > 1) {
		remove_targets(call, al, span_of(text));
		return;
	}
	if (arg_is_target(call, NULL, al))
		return;
	row_key_text(&key, ROW_ALIAS, al->address);
	change_del(call_change(call), &key);
	call_commit(call, "alias %s removed", text);
}

static struct span address_of_alias(const void *p)
{
	return ((const struct alias *)p)->address;
}

static void show_alias(struct call *call, const void *p)
{
	const struct alias *al = p;
	struct strbuf targets, b;

	strbuf_init(&targets, 128 * 1024);
	strbuf_init(&b, 129 * 1024);
	for (uint32_t i = 0; i < al->count; i++) {
		if (i > 0)
			strbuf_add_chr(&targets, ' ');
		strbuf_add(&targets, al->targets[i]);
	}
	ipc_rec_text(&b, "alias", al->address);
	ipc_rec_text(&b, "targets", strbuf_span(&targets));
	strbuf_clear(&targets);
	ipc_rec_number(&b, "until", IPC_TIME, al->until);
	call_record(call, &b);
}

void verb_alias_list(struct call *call)
{
	list_addresses(call, call->a->index.aliases, address_of_alias, show_alias);
}
