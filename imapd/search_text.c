/* Text in headers and bodies: decoded, in UTF-8, folded. */
#include "common/base/mem.h"
#include "common/mail/words.h"
#include "imapd/search.h"

#include <string.h>

#define COST_CHECKS 20 /* comparisons that cost as much as ... */
#define COST_BYTES 200 /* bytes that cost as much as a message of the snapshot */
#define PIECE (64 * 1024)
#define FEW_KEYS 16
#define ANCHOR_TRIES 16
/* What a slice does at most of one message: comparisons of a field with a key, bytes for matchers.
 * However many keys meet however many fields, others get their turn. */
#define FIELDS_WORK ((size_t)1000 * 1000)
#define BODY_WORK ((size_t)16 * 1024 * 1024)

/* The byte of a text to look for first: marks are rarer than digits, those than letters. */
static size_t find_anchor(struct span needle)
{
	size_t best = 0;
	int rank = 3;

	for (size_t i = 0; i < needle.n && rank > 0; i++) {
		char c = needle.p[i];
		int r = ascii_is_digit(c) ? 1 : ascii_is_alpha(c) || c == ' ' ? 2 : 0;

		if (r < rank) {
			rank = r;
			best = i;
		}
	}
	return best;
}

/* memchr is some ten times as fast as memmem, as long as it does not find too often; memmem takes
 * linear time whatever it finds. needle is not empty. */
static bool contains(struct span hay, struct span needle)
{
	size_t anchor = find_anchor(needle), at = anchor;

	for (int tries = 0; at < hay.n && hay.n - at >= needle.n - anchor; tries++) {
		const char *p = hay.p + at;

		if (tries == ANCHOR_TRIES)
			return memmem(p - anchor, hay.n - at + anchor, needle.p, needle.n) != NULL;
		p = memchr(p, needle.p[anchor], hay.n - at - (needle.n - anchor - 1));
		if (!p)
			return false;
		if (memcmp(p - anchor, needle.p, needle.n) == 0)
			return true;
		at = (size_t)(p - hay.p) + 1;
	}
	return false;
}

static bool is_plain(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] >= 0x80 || s.p[i] == '\r' || s.p[i] == '\n' ||
		    s.p[i] == '\0' || (s.p[i] == '=' && i + 1 < s.n && s.p[i + 1] == '?'))
			return false;
	return true;
}

/* A header value as it is searched, in st->folded. */
static void fold_value(struct search_state *st, struct span value)
{
	strbuf_reset(&st->folded);
	if (is_plain(value)) {
		char *room = strbuf_room(&st->folded, value.n);

		for (size_t i = 0; room && i < value.n; i++)
			room[i] = ascii_lower(value.p[i]);
		if (room)
			strbuf_added(&st->folded, value.n);
		return;
	}
	strbuf_reset(&st->utf8);
	mail_words_decode(&st->utf8, value);
	mail_casefold(&st->folded, strbuf_span(&st->utf8));
}

bool search_value(struct search_state *st, struct span value, struct span text)
{
	if (text.n == 0)
		return true;
	fold_value(st, value);
	return contains(strbuf_span(&st->folded), text);
}

/* --- headers ------------------------------------------------------------------------------------
 */
static bool is_needed(const struct search_state *st, size_t i, enum search_op op)
{
	return st->needed[i] && st->program->keys[i].op == op;
}

static bool any_needed(const struct search_state *st, enum search_op first, enum search_op last)
{
	for (size_t i = 0; i < st->program->count; i++)
		if (st->needed[i] && st->program->keys[i].op >= first &&
		    st->program->keys[i].op <= last)
			return true;
	return false;
}

/* Do cache rows keep all the fields that are asked for? */
static bool all_kept(const struct search_state *st)
{
	for (size_t i = 0; i < st->program->count; i++)
		if (is_needed(st, i, SEARCH_HEADER) && !st->program->keys[i].is_kept)
			return false;
	return true;
}

/* The message's header, as much of it as fields are looked for in. */
static int read_header(struct search_state *st, struct span *out, struct err *err)
{
	struct message *m = &st->m;
	uint64_t n = m->size < MAIL_HEADER_MAX ? m->size : MAIL_HEADER_MAX, got;
	int rc = 0;

	/* Offsets are only good in what they were taken from. */
	if (st->header_at == 0)
		st->header_is_kept = all_kept(st);
	if (st->header_is_kept) {
		rc = message_cache(m, err);
		if (rc != 0)
			return rc;
		*out = m->cache.fields;
		if (out->p)
			return 0;
	}
	rc = message_open(m, err);
	if (rc != 0)
		return rc;
	if (m->has_bytes) {
		*out = strbuf_span(&m->bytes);
	} else {
		strbuf_reset(&st->raw);
		if (message_read(m, 0, n, &st->raw, &got, err) < 0)
			return -1;
		*out = strbuf_span(&st->raw);
	}
	st->cost += out->n / COST_BYTES;
	return 0;
}

/* HEADER keys without an answer: those that fields are compared with. */
static size_t count_open(const struct search_state *st)
{
	size_t n = 0;

	for (size_t i = 0; i < st->program->count; i++)
		n += is_needed(st, i, SEARCH_HEADER) && st->answers[i] == SEARCH_UNKNOWN;
	return n;
}

static void match_field(struct search_state *st, const struct mail_field *f)
{
	bool is_folded = false;

	for (size_t i = 0; i < st->program->count; i++) {
		struct search_key *k = &st->program->keys[i];

		if (!is_needed(st, i, SEARCH_HEADER) || st->answers[i] != SEARCH_UNKNOWN ||
		    !span_ieq(f->name, k->name))
			continue;
		if (k->text.n > 0 && !is_folded) {
			fold_value(st, f->value);
			is_folded = true;
		}
		if (k->text.n == 0 || contains(strbuf_span(&st->folded), k->text))
			st->answers[i] = SEARCH_TRUE;
	}
}

/* The header in lower case, in st->folded, if nothing in it is to be decoded. */
static bool lower_header(struct search_state *st, struct span header)
{
	char *room;

	strbuf_reset(&st->folded);
	if (contains(header, SPAN("=?")) || memchr(header.p, '\0', header.n))
		return false;
	room = strbuf_room(&st->folded, header.n);
	if (!room || !span_lower(room, header))
		return false;
	strbuf_added(&st->folded, header.n);
	return true;
}

/* Can only stand in a value as it stands in the header, whatever is folded and unfolded. */
static bool is_word(struct span text)
{
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] <= ' ' || text.p[i] >= 0x7f)
			return false;
	return text.n > 0;
}

/* What stands nowhere in the header stands in no field of it. False: no key is left to be looked
 * for. */
static bool rule_out(struct search_state *st, struct span header)
{
	bool is_lowered = false, is_left = false;

	for (size_t i = 0; i < st->program->count; i++) {
		const struct search_key *k = &st->program->keys[i];

		if (!is_needed(st, i, SEARCH_HEADER))
			continue;
		if (!is_word(k->text) || (!is_lowered && !lower_header(st, header)))
			return true;
		is_lowered = true;
		if (contains(strbuf_span(&st->folded), k->text))
			is_left = true;
		else
			st->answers[i] = SEARCH_FALSE;
	}
	return is_left;
}

int search_headers(struct search_state *st, struct err *err)
{
	struct mail_header h;
	struct mail_field f;
	struct span header;
	size_t work = 0, step;
	int rc;

	if (!any_needed(st, SEARCH_HEADER, SEARCH_HEADER))
		return 0;
	rc = read_header(st, &header, err);
	if (rc != 0)
		return rc;
	if (st->program->count <= FEW_KEYS && !rule_out(st, header))
		return 0;
	step = count_open(st) + 1;
	mail_header_init(&h, header);
	h.at = st->header_at;
	for (; work < FIELDS_WORK && mail_header_next(&h, &f);) {
		if (f.name.n > 0)
			match_field(st, &f);
		work += step * (1 + f.size / 256);
	}
	st->cost += work / COST_CHECKS;
	st->header_at = work < FIELDS_WORK ? 0 : h.at;
	if (st->header_at > 0)
		return 1;
	for (size_t i = 0; i < st->program->count; i++)
		if (is_needed(st, i, SEARCH_HEADER) && st->answers[i] == SEARCH_UNKNOWN)
			st->answers[i] = SEARCH_FALSE;
	return 0;
}

/* --- bodies --------------------------------------------------------------------------------------
 */
/* Folded text for every matcher that wants it; BODY wants no headers, not even those of parts. */
static void feed(struct search_state *st, struct span folded, bool is_header)
{
	for (size_t i = 0; i < st->program->count; i++) {
		struct search_key *k = &st->program->keys[i];

		if (k->matcher && st->needed[i] && !k->is_found &&
		    (k->op == SEARCH_TEXT || !is_header))
			k->is_found = mail_matcher_feed(k->matcher, folded);
	}
}

/* A text begins: nothing matches across. */
static void restart(struct search_state *st)
{
	for (size_t i = 0; i < st->program->count; i++)
		if (st->program->keys[i].matcher)
			mail_matcher_reset(st->program->keys[i].matcher);
}

static bool all_found(const struct search_state *st)
{
	for (size_t i = 0; i < st->program->count; i++)
		if (st->program->keys[i].matcher && st->needed[i] && !st->program->keys[i].is_found)
			return false;
	return true;
}

static void feed_header(struct search_state *st, struct span header)
{
	struct mail_header h;
	struct mail_field f;

	mail_header_init(&h, header);
	while (mail_header_next(&h, &f)) {
		restart(st);
		fold_value(st, f.name);
		feed(st, strbuf_span(&st->folded), true);
		feed(st, SPAN(": "), true);
		fold_value(st, f.value);
		feed(st, strbuf_span(&st->folded), true);
	}
}

/* Bytes of a text part. */
static void feed_body(struct search_state *st, struct span bytes, bool is_last)
{
	struct search_body *b = &st->body;

	strbuf_reset(&st->decoded);
	strbuf_reset(&st->utf8);
	strbuf_reset(&st->folded);
	mail_decoder_feed(&b->decoder, &st->decoded, bytes);
	if (is_last)
		mail_decoder_finish(&b->decoder, &st->decoded);
	mail_charset_feed(b->charset, &st->utf8, strbuf_span(&st->decoded));
	if (is_last)
		mail_charset_finish(b->charset, &st->utf8);
	mail_casefold(&st->folded, strbuf_span(&st->utf8));
	feed(st, strbuf_span(&st->folded), false);
}

void search_body_end(struct search_state *st)
{
	mail_charset_close(st->body.charset);
	st->body = (struct search_body){0};
}

/* 0: all of part is done; 1 more to do; -1. */
static int search_leaf(struct search_state *st, const struct mime_part *part, struct err *err)
{
	struct search_body *b = &st->body;

	if (!b->in_part) {
		b->in_part = true;
		b->at = part->body_at;
		b->left = part->body_size;
		mail_decoder_init(&b->decoder, mail_encoding_of(part->encoding));
		mail_charset_close(b->charset);
		b->charset = mail_charset_open(mime_param_get(st->m.tree, part, SPAN("charset")));
		restart(st);
	}
	for (size_t work = 0; b->left > 0;) {
		uint64_t got, n = b->left < PIECE ? b->left : PIECE;

		strbuf_reset(&st->raw);
		if (message_read(&st->m, b->at, n, &st->raw, &got, err) < 0)
			return -1;
		if (got == 0)
			return 1;
		b->at += got;
		b->left -= got;
		st->cost += got * st->program->bodies / COST_BYTES;
		work += (size_t)got * st->program->bodies;
		feed_body(st, strbuf_span(&st->raw), b->left == 0);
		if (b->left > 0 && (!st->m.has_bytes || work > BODY_WORK))
			return 1;
	}
	b->in_part = false;
	return 0;
}

/* The header of the message, of a part, of a message inside: for TEXT. */
static int search_part_header(
    struct search_state *st, const struct mime_part *part, struct err *err)
{
	struct message *m = &st->m;
	uint64_t got, n = part->header_size < MAIL_HEADER_MAX ? part->header_size : MAIL_HEADER_MAX;
	struct span header;

	if (n == 0 || !any_needed(st, SEARCH_TEXT, SEARCH_TEXT))
		return 0;
	if (m->has_bytes) {
		header = span_sub(strbuf_span(&m->bytes), (size_t)part->header_at, (size_t)n);
	} else {
		strbuf_reset(&st->raw);
		if (message_read(m, part->header_at, n, &st->raw, &got, err) < 0)
			return -1;
		if (got == 0)
			return 1;
		header = strbuf_span(&st->raw);
	}
	feed_header(st, header);
	return 0;
}

static int search_part(struct search_state *st, const struct mime_part *part, struct err *err)
{
	bool is_text;
	int rc;

	if (!st->body.in_part) {
		rc = search_part_header(st, part, err);
		if (rc != 0)
			return rc;
	}
	/* Reports are text too. */
	is_text = (part->flags & MIME_TEXT) ||
		  (!(part->flags & MIME_MESSAGE) && span_ieq(part->type, SPAN("message")));
	if (!is_text)
		return 0;
	return search_leaf(st, part, err);
}

int search_bodies(struct search_state *st, struct err *err)
{
	struct search_body *b = &st->body;
	struct search_key *keys = st->program->keys;
	int rc;

	if (!b->is_active) {
		for (size_t i = 0; i < st->program->count; i++)
			keys[i].is_found = false;
		b->is_active = true;
	}
	rc = message_tree(&st->m, err);
	if (rc == 0)
		rc = message_open(&st->m, err);
	for (; rc == 0 && b->part < st->m.tree->count && !all_found(st); b->part++) {
		rc = search_part(st, &st->m.tree->parts[b->part], err);
		if (rc != 0)
			return rc;
	}
	if (rc != 0)
		return rc;
	/* An empty text is in every message. */
	for (size_t i = 0; i < st->program->count; i++)
		if (st->needed[i] && keys[i].op >= SEARCH_BODY)
			st->answers[i] = !keys[i].matcher || keys[i].is_found;
	search_body_end(st);
	return 0;
}
