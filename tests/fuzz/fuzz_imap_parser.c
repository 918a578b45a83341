/*
 * The words of an IMAP command from any bytes; the first byte chooses the function. Oracles: what
 * was taken lies inside of the input or in the arena and is of the form that was asked for, limits
 * hold, and what is left is the end of the input.
 */
#include "common/base/mem.h"
#include "common/base/utf8.h"
#include "common/store/store.h"
#include "imapd/parser.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool ok)
{
	if (!ok)
		abort();
}

/* Reads every byte, so that a sanitizer sees a span that points elsewhere. */
static void touch(struct span s)
{
	volatile char sum = 0;

	for (size_t i = 0; i < s.n; i++)
		sum = (char)(sum + s.p[i]);
}

static void check_sequence(struct parser *p)
{
	struct sequence seq;

	if (!parse_sequence(p, &seq))
		return;
	need((seq.n >= 1 || seq.is_saved) && seq.n <= SEQUENCE_RANGES_MAX);
	for (size_t i = 0; i < seq.n; i++)
		touch(span_make(&seq.r[i], sizeof(seq.r[i])));
}

static void check_flags(struct parser *p, bool is_list)
{
	struct flag_list f;

	if (!(is_list ? parse_flag_list(p, &f) : parse_flags_bare(p, &f)))
		return;
	need((f.flags & ~FLAGS_ALL) == 0 && f.keyword_count <= FLAG_LIST_MAX);
	for (size_t i = 0; i < f.keyword_count; i++) {
		need(f.keywords[i].n > 0 && f.keywords[i].n <= STORE_KEYWORD_LEN_MAX);
		need(f.keywords[i].p[0] != '\\');
		touch(f.keywords[i]);
	}
}

static void check_list(struct parser *p)
{
	struct span *all;
	size_t n;

	if (!parse_astring_list(p, 50, &all, &n))
		return;
	need(n >= 1 && n <= 50);
	for (size_t i = 0; i < n; i++)
		touch(all[i]);
}

static void check_word(struct parser *p, unsigned which)
{
	static bool (*const functions[])(struct parser *, struct span *) = {parse_atom, parse_word,
	    parse_string, parse_astring, parse_nstring, parse_list_mailbox, parse_mailbox};
	struct span s;

	if (!functions[which % ARRAY_LEN(functions)](p, &s))
		return;
	touch(s);
	/* An atom is something, and printable. */
	if (which % ARRAY_LEN(functions) == 0) {
		need(s.n > 0);
		for (size_t i = 0; i < s.n; i++)
			need((unsigned char)s.p[i] > 0x20 && (unsigned char)s.p[i] < 0x7f);
	}
}

static void check_numbers(struct parser *p)
{
	uint64_t big;
	uint32_t n;

	if (parse_number(p, 1000, &big))
		need(big <= 1000);
	if (parse_chr(p, ',') && parse_nz_number(p, &n))
		need(n >= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena;
	struct parser p;
	char *copy;
	unsigned which;

	if (size == 0)
		return 0;
	which = data[0];
	copy = mem_dup(data + 1, size - 1);
	arena_init(&arena, 4 * 1024 * 1024);
	p = (struct parser){.in = span_make(copy, size - 1), .arena = &arena};
	/* As a command is: one word after the other. */
	for (int words = 0; words < 20; words++) {
		struct span before = p.in;

		switch (which++ % 12) {
		case 0:
			check_sequence(&p);
			break;
		case 1:
			check_flags(&p, true);
			break;
		case 2:
			check_flags(&p, false);
			break;
		case 3:
			check_list(&p);
			break;
		case 4:
			check_numbers(&p);
			break;
		default:
			check_word(&p, which);
		}
		need(p.in.n <= before.n && p.in.p + p.in.n == before.p + before.n);
		if (!parse_sp(&p))
			break;
	}
	arena_clear(&arena);
	mem_free(copy);
	return 0;
}
