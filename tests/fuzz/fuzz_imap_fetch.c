/*
 * The arguments of FETCH and SEARCH from any bytes. Oracles: what is asked for is consistent; every
 * key of a search stands behind its parent, and what the snapshot answers is answered; the memory
 * is the arena's.
 */
#include "common/base/mem.h"
#include "imapd/fetch.h"
#include "imapd/search.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool ok)
{
	if (!ok)
		abort();
}

static void check_fetch(struct span in, struct arena *arena)
{
	struct fetch_request rq = {0};
	struct parser p = {.in = in, .arena = arena};
	size_t n = 0;

	if (!fetch_parse_items(&p, &rq) || !fetch_parse_modifiers(&p, &rq))
		return;
	need(rq.first && rq.last && !rq.last->next && parse_end(&p));
	need(!rq.needs_body || rq.needs_store);
	need(!rq.has_changedsince || rq.has_modseq);
	for (const struct fetch_item *it = rq.first; it; it = it->next, n++) {
		need(it->label.n > 0 && it->section.count <= MIME_DEPTH_MAX);
		need(memchr(it->label.p, '\r', it->label.n) == NULL || it->field_count > 0);
		need(it->field_count <= FETCH_FIELDS_MAX);
	}
	need(n <= in.n + 5);
}

static void check_keys(const struct search_program *g)
{
	for (uint32_t i = 0; i < g->count; i++) {
		const struct search_key *k = &g->keys[i];

		need(k->first == 0 || (k->first > i && k->first < g->count));
		need(k->next == 0 || (k->next > i && k->next < g->count));
		need(k->op > SEARCH_NOT || k->first != 0);
		need(k->op != SEARCH_NOT || g->keys[k->first].next == 0);
		need(k->op != SEARCH_OR || (g->keys[k->first].next == k->last && k->last != 0));
		need(k->op <= g->most && k->text.n <= SEARCH_TEXT_MAX);
	}
}

static void check_search(struct span in, struct arena *arena)
{
	static struct store_message messages[3] = {{.uid = 2, .flags = FLAG_SEEN, .size = 10},
	    {.uid = 5, .keywords = 1, .modseq = 7}, {.uid = 9, .internaldate = 1700000000}};
	static char keywords[1][STORE_KEYWORD_LEN_MAX + 1] = {"$Work"};
	struct store_snapshot snap = {
	    .count = 3, .messages = messages, .keywords = keywords, .keyword_count = 1};
	struct view view = {.snap = &snap};
	struct session s = {.view = &view};
	struct parser p = {.in = in, .arena = arena};
	struct search_program g = {0};
	struct search_state st;
	struct err err = ERR_INIT;

	if (search_parse(&s, &p, (struct span){NULL, 0}, &g) == SEARCH_GOOD) {
		need(parse_end(&p) && g.count > 1 && g.count <= SEARCH_KEYS_MAX);
		check_keys(&g);
		if (g.most < SEARCH_THREADID) {
			st = (struct search_state){.program = &g, .snap = &snap};
			st.answers = mem_array(g.count, sizeof(*st.answers));
			st.needed = mem_array(g.count, sizeof(*st.needed));
			for (size_t i = 0; i < snap.count; i++) {
				int a = search_match(&st, i, &err);

				need(a == SEARCH_TRUE || a == SEARCH_FALSE);
			}
			mem_free(st.answers);
			mem_free(st.needed);
		}
	}
	search_program_clear(&g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_make(data, size);
	struct arena arena;

	if (size > COMMAND_MAX)
		return 0;
	arena_init(&arena, COMMAND_ARENA_MAX);
	check_fetch(in, &arena);
	arena_clear(&arena);
	check_search(in, &arena);
	need(arena.used <= COMMAND_ARENA_MAX);
	arena_clear(&arena);
	return 0;
}
