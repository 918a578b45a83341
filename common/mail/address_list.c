/* Address lists of header fields, read one entry at a time. */
#include "common/mail/address.h"
#include "common/mail/lex.h"

/* A piece of list.text: offsets, because the buffer moves while it grows. */
struct piece {
	size_t at, n;
	bool is_set;
};

struct reader {
	struct mail_lex lex;
	struct strbuf *text;
	struct piece name, route, local, domain;
	bool bad;
};

static struct piece piece_from(const struct strbuf *text, size_t at)
{
	return (struct piece){at, text->n - at, true};
}

static struct piece piece_of(struct strbuf *text, const char *s)
{
	size_t at = text->n;

	strbuf_add_str(text, s);
	return piece_from(text, at);
}

static struct span piece_span(const struct strbuf *text, struct piece p)
{
	/* A piece that the limit cut off must not reach behind what is held. */
	if (!p.is_set)
		return (struct span){NULL, 0};
	return span_sub(strbuf_span(text), p.at, p.n);
}

void mail_list_init(struct mail_list *l, struct span value)
{
	struct mail_lex lex = {value, NULL};

	*l = (struct mail_list){0};
	/* Whatever is written comes from the input, plus the fixed words. */
	strbuf_init(&l->text, value.n * 2 + 128);
	l->is_done = mail_lex_cfws(&lex) <= 0;
	l->in = lex.in;
}

void mail_list_clear(struct mail_list *l)
{
	strbuf_clear(&l->text);
	l->is_done = true;
	l->in_group = false;
}

/* "@a,@b:" with the cursor on "@". */
static int read_route(struct reader *r)
{
	size_t at = r->text->n;
	int ret = 1;

	while (ret > 0 && r->lex.in.p[0] == '@') {
		if (r->text->n > at)
			strbuf_add_chr(r->text, ',');
		strbuf_add_chr(r->text, '@');
		ret = mail_lex_domain(&r->lex, r->text);
		while (ret > 0 && span_take_chr(&r->lex.in, ','))
			ret = mail_lex_cfws(&r->lex);
	}
	r->route = piece_from(r->text, at);
	if (ret > 0 && span_take_chr(&r->lex.in, ':'))
		return mail_lex_cfws(&r->lex);
	r->route = piece_of(r->text, "INVALID_ROUTE");
	r->bad = true;
	return ret > 0 ? 1 : -1;
}

/* "<" [route] local ["@" domain] ">" with the cursor on "<". -1: broken, what was read stays. */
static int read_angle(struct reader *r)
{
	size_t at;
	int ret;

	span_take_chr(&r->lex.in, '<');
	if (mail_lex_cfws(&r->lex) <= 0)
		return -1;
	if (r->lex.in.p[0] == '@' && (ret = read_route(r)) <= 0)
		return ret;
	if (r->lex.in.p[0] != '>') {
		at = r->text->n;
		ret = mail_lex_local(&r->lex, r->text);
		if (ret < 0)
			return -1;
		r->local = piece_from(r->text, at);
		if (ret == 0)
			return -1;
		if (r->lex.in.p[0] == '@') {
			at = r->text->n;
			ret = mail_lex_domain(&r->lex, r->text);
			if (ret < 0)
				return -1;
			r->domain = piece_from(r->text, at);
			if (ret == 0)
				return -1;
		}
	}
	if (!span_take_chr(&r->lex.in, '>'))
		return -1;
	return mail_lex_cfws(&r->lex);
}

/* [phrase] "<...>". False if this is something else; the cursor is then where it was. */
static bool read_name_addr(struct reader *r)
{
	struct span start = r->lex.in;
	size_t at = r->text->n;

	if (mail_lex_phrase(&r->lex, r->text) <= 0 || r->lex.in.p[0] != '<') {
		r->lex.in = start;
		strbuf_truncate(r->text, at);
		return false;
	}
	if (r->text->n > at)
		r->name = piece_from(r->text, at);
	if (read_angle(r) < 0) {
		r->domain = piece_of(r->text, "SYNTAX_ERROR");
		r->bad = true;
	}
	return true;
}

/* A local part that no "@" follows: alone it is taken for a mailbox, with more words behind it for
 * a display name. */
static void read_words(struct reader *r, size_t at)
{
	size_t end;

	strbuf_add_chr(r->text, ' ');
	end = r->text->n;
	(void)mail_lex_phrase(&r->lex, r->text);
	if (r->text->n > end) {
		r->name = piece_from(r->text, at);
		r->local.is_set = false;
	}
	r->bad = true;
}

/* local "@" domain [(name)] */
static void read_addr_spec(struct reader *r)
{
	struct strbuf comment;
	size_t at = r->text->n;
	bool has_domain = false, is_quoted = r->lex.in.n && r->lex.in.p[0] == '"';
	int ret;

	strbuf_init(&comment, r->lex.in.n);
	r->lex.comment = &comment;
	ret = mail_lex_local(&r->lex, r->text);
	if (ret < 0) {
		strbuf_truncate(r->text, at);
		r->bad = true;
	} else {
		r->local = piece_from(r->text, at);
	}
	if (r->lex.in.n && r->lex.in.p[0] == '@') {
		size_t domain = r->text->n;

		has_domain = true;
		if (mail_lex_domain(&r->lex, r->text) < 0)
			r->bad = true;
		else
			r->domain = piece_from(r->text, domain);
	}
	r->lex.comment = NULL;
	if (comment.n) {
		r->name = piece_of(r->text, "");
		strbuf_add(r->text, strbuf_span(&comment));
		r->name.n = comment.n;
	} else if (!has_domain && ret >= 0) {
		read_words(r, at);
		/* Who quotes means a name. */
		if (is_quoted && r->local.is_set) {
			r->name = r->local;
			r->local.is_set = false;
		}
	}
	strbuf_clear(&comment);
}

static void read_mailbox(struct reader *r)
{
	if (!read_name_addr(r))
		read_addr_spec(r);
	if (!r->local.is_set) {
		r->local = piece_of(r->text, "MISSING_MAILBOX");
		r->bad = true;
	}
	if (!r->domain.is_set || !r->domain.n) {
		r->domain = piece_of(r->text, "MISSING_DOMAIN");
		r->bad = true;
	}
}

/* phrase ":". False if this is something else; the cursor is then where it was. */
static bool read_group(struct reader *r)
{
	struct span start = r->lex.in;
	size_t at = r->text->n;

	if (mail_lex_phrase(&r->lex, r->text) <= 0 || !span_take_chr(&r->lex.in, ':')) {
		r->lex.in = start;
		strbuf_truncate(r->text, at);
		return false;
	}
	r->local = piece_from(r->text, at);
	r->bad = mail_lex_cfws(&r->lex) <= 0;
	return true;
}

/* Behind an entry: "," or the end; anything else ends the list, as it cannot be told apart. */
static void next_entry(struct mail_list *l, struct reader *r)
{
	if (!span_take_chr(&r->lex.in, ',') || mail_lex_cfws(&r->lex) <= 0)
		l->is_done = true;
}

static void end_group(struct mail_list *l, struct reader *r, struct mail_entry *out)
{
	*out = (struct mail_entry){.kind = MAIL_ENTRY_GROUP_END};
	l->in_group = false;
	if (l->is_done)
		return;
	if (span_take_chr(&r->lex.in, ';')) {
		(void)mail_lex_cfws(&r->lex);
		next_entry(l, r);
	} else {
		out->bad = true;
		l->is_done = true;
	}
}

bool mail_list_next(struct mail_list *l, struct mail_entry *out)
{
	struct reader r = {.lex = {l->in, NULL}, .text = &l->text};
	enum mail_entry_kind kind = MAIL_ENTRY_MAILBOX;

	strbuf_reset(&l->text);
	if (l->count >= MAIL_LIST_MAX)
		l->is_done = true;
	if (l->in_group && (l->is_done || !l->in.n || l->in.p[0] == ';')) {
		end_group(l, &r, out);
		l->in = r.lex.in;
		return true;
	}
	if (l->is_done)
		return false;
	l->count++;
	if (!l->in_group && read_group(&r)) {
		kind = MAIL_ENTRY_GROUP;
		l->in_group = true;
	} else {
		read_mailbox(&r);
		if (!l->in_group || !r.lex.in.n || r.lex.in.p[0] != ';')
			next_entry(l, &r);
	}
	l->in = r.lex.in;
	*out =
	    (struct mail_entry){kind, piece_span(&l->text, r.name), piece_span(&l->text, r.route),
		piece_span(&l->text, r.local), piece_span(&l->text, r.domain), r.bad};
	return true;
}
