/* Threads of any references: each message stands once in the answer, its parentheses match. */
#include "common/base/mem.h"
#include "imapd/thread.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MESSAGES_MAX 300
#define REFERENCES_MAX 5

static void need(bool ok)
{
	if (!ok)
		abort();
}

static void check_answer(const struct thread_tree *t, const struct thread_message *m, size_t n)
{
	bool seen[MESSAGES_MAX] = {false};
	struct strbuf out;
	size_t depth = 0, count = 0;
	struct span rest;

	strbuf_init(&out, (size_t)1 << 20);
	need(thread_write(&out, t, m));
	for (rest = strbuf_span(&out); rest.n > 0;) {
		uint64_t v;

		if (span_take_u64(&rest, n, &v)) {
			need(depth > 0 && v >= 1 && !seen[v - 1]);
			seen[v - 1] = true;
			count++;
			continue;
		}
		if (rest.p[0] == '(')
			depth++;
		else if (rest.p[0] == ')')
			need(depth-- > 0);
		else
			need(rest.p[0] == ' ');
		rest = span_from(rest, 1);
	}
	need(depth == 0 && count == n);
	strbuf_clear(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct span subjects[4] = {
	    SPAN_INIT(""), SPAN_INIT("A"), SPAN_INIT("B"), SPAN_INIT("C")};
	static uint64_t references[MESSAGES_MAX][REFERENCES_MAX];
	static struct thread_message m[MESSAGES_MAX];
	struct thread_tree t;
	size_t n = 0;

	while (size >= 3 && n < MESSAGES_MAX) {
		struct thread_message *x = &m[n];

		*x = (struct thread_message){.number = (uint32_t)n + 1, .sent = data[0] & 15};
		x->id = data[1] & 0x7f;
		x->subject = subjects[data[0] >> 6];
		x->is_reply = data[0] & 16;
		x->reference_count = data[2] % (REFERENCES_MAX + 1);
		data += 3;
		size -= 3;
		if (x->reference_count > size)
			x->reference_count = size;
		for (size_t i = 0; i < x->reference_count; i++)
			references[n][i] = (data[i] & 0x7f) + 1u;
		x->references = references[n];
		data += x->reference_count;
		size -= x->reference_count;
		n++;
	}
	thread_references(&t, m, n);
	check_answer(&t, m, n);
	thread_tree_clear(&t);
	thread_ordered_subject(&t, m, n);
	check_answer(&t, m, n);
	thread_tree_clear(&t);
	return 0;
}
