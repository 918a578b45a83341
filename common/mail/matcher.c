/* Knuth, Morris and Pratt: linear, and the state is one number, so that text comes in pieces. */
#include "common/base/mem.h"
#include "common/mail/charset.h"

#include <string.h>

#define KEY_MAX 1024

struct mail_matcher {
	char *key;
	uint16_t *fallback; /* length of the longest border of each prefix */
	size_t n, at;
	bool is_found;
};

struct mail_matcher *mail_matcher_new(struct span key)
{
	struct mail_matcher *m;
	struct strbuf folded;
	size_t border = 0;

	strbuf_init(&folded, KEY_MAX);
	if (!mail_casefold(&folded, key) || !folded.n) {
		strbuf_clear(&folded);
		return NULL;
	}
	m = mem_zalloc(sizeof(*m));
	m->key = strbuf_steal(&folded, &m->n);
	m->fallback = mem_array(m->n, sizeof(*m->fallback));
	for (size_t i = 1; i < m->n; i++) {
		while (border && m->key[i] != m->key[border])
			border = m->fallback[border - 1];
		if (m->key[i] == m->key[border])
			border++;
		m->fallback[i] = (uint16_t)border;
	}
	return m;
}

bool mail_matcher_feed(struct mail_matcher *m, struct span text)
{
	/* At the start of a key nothing has to be remembered but what the end may be the start of.
	 */
	if (!m->is_found && m->at == 0 && text.n > m->n) {
		m->is_found = memmem(text.p, text.n, m->key, m->n) != NULL;
		text = span_from(text, text.n - m->n);
	}
	for (size_t i = 0; i < text.n && !m->is_found; i++) {
		while (m->at && text.p[i] != m->key[m->at])
			m->at = m->fallback[m->at - 1];
		if (text.p[i] == m->key[m->at])
			m->at++;
		m->is_found = m->at == m->n;
	}
	return m->is_found;
}

void mail_matcher_reset(struct mail_matcher *m)
{
	m->at = 0;
	m->is_found = false;
}

void mail_matcher_free(struct mail_matcher *m)
{
	if (!m)
		return;
	mem_free(m->key);
	mem_free(m->fallback);
	mem_free(m);
}
