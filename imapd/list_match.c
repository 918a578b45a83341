#include "imapd/list_match.h"

#include <string.h>

static bool is_wildcard(char c)
{
	return c == '*' || c == '%';
}

/* A run of wildcards is worth one: '*' if there is one in it. No two are neighbours then, so one
 * step past them is enough. */
static size_t collapse(struct span text, char *out)
{
	size_t n = 0;

	for (size_t i = 0; i < text.n; i++) {
		char c = text.p[i];

		if (!is_wildcard(c) || n == 0 || !is_wildcard(out[n - 1]))
			out[n++] = c;
		else if (c == '*')
			out[n - 1] = '*';
	}
	return n;
}

static void set_bit(uint64_t *words, size_t bit)
{
	words[bit / 64] |= UINT64_C(1) << (bit % 64);
}

bool list_pattern_compile(struct list_pattern *p, struct arena *arena, struct span text)
{
	char collapsed[LIST_PATTERN_MAX];
	size_t n;

	*p = (struct list_pattern){0};
	if (text.n > sizeof(collapsed))
		return false;
	n = collapse(text, collapsed);
	p->length = n;
	p->words = n / 64 + 1;
	p->star = arena_array(arena, p->words, sizeof(uint64_t));
	p->percent = arena_array(arena, p->words, sizeof(uint64_t));
	p->chars = arena_array(arena, p->words * 256, sizeof(uint64_t));
	if (!p->star || !p->percent || !p->chars)
		return false;
	for (size_t i = 0; i < n; i++) {
		char c = collapsed[i];

		if (c == '*')
			set_bit(p->star, i);
		else if (c == '%')
			set_bit(p->percent, i);
		else
			set_bit(p->chars + (unsigned char)c * p->words, i);
	}
	/* "inb%" means INBOX, "*b*" does not. */
	for (size_t i = 0; i < n && i < 5 && ascii_upper(collapsed[i]) == "INBOX"[i]; i++)
		p->inbox |= UINT64_C(1) << i;
	p->ends_in_percent = n > 0 && collapsed[n - 1] == '%';
	return true;
}

/* A wildcard may also stand for nothing: whoever is before one is behind it too. */
static void pass_wildcards(const struct list_pattern *p, uint64_t *state)
{
	uint64_t carry = 0;

	for (size_t i = 0; i < p->words; i++) {
		uint64_t at = state[i] & (p->star[i] | p->percent[i]);

		state[i] |= at << 1 | carry;
		carry = at >> 63;
	}
}

/* inbox: where c, which is of INBOX, may also stand in lower case. */
static void step(const struct list_pattern *p, uint64_t *state, unsigned char c, uint64_t inbox)
{
	const uint64_t *is_c = p->chars + c * p->words;
	uint64_t lower = inbox & p->chars[(unsigned char)ascii_lower((char)c) * p->words];
	uint64_t carry = 0;

	for (size_t i = 0; i < p->words; i++) {
		uint64_t stay = state[i] & (c == '/' ? p->star[i] : p->star[i] | p->percent[i]);
		uint64_t go = state[i] & (i == 0 ? is_c[i] | lower : is_c[i]);

		state[i] = stay | go << 1 | carry;
		carry = go >> 63;
	}
	pass_wildcards(p, state);
}

static bool is_inbox(struct span name)
{
	return span_starts(name, SPAN("INBOX")) && (name.n == 5 || name.p[5] == '/');
}

bool list_pattern_matches(const struct list_pattern *p, struct span name)
{
	uint64_t state[LIST_PATTERN_WORDS] = {1};
	size_t inbox = is_inbox(name) ? 5 : 0;

	pass_wildcards(p, state);
	for (size_t i = 0; i < name.n; i++)
		step(p, state, (unsigned char)name.p[i], i < inbox ? p->inbox : 0);
	return state[p->length / 64] >> (p->length % 64) & 1;
}
