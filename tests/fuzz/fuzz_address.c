/*
 * Addresses from any bytes; the first byte gives the flags. Oracles: parse, print, parse gives the
 * same address; no control character ever passes; limits hold; lists end.
 */
#include "common/base/mem.h"
#include "common/mail/address.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool ok)
{
	if (!ok)
		abort();
}

static void check_address(const struct mail_address *a, unsigned flags)
{
	char buf[MAIL_PATH_MAX];
	struct mail_address again;
	struct strbuf text;
	struct span in;

	need(a->local.n <= MAIL_LOCAL_MAX && a->domain.n <= MAIL_DOMAIN_MAX);
	for (size_t i = 0; i < a->local.n; i++)
		need(!ascii_is_ctl(a->local.p[i]));
	for (size_t i = 0; i < a->domain.n; i++)
		need(!ascii_is_ctl(a->domain.p[i]) && a->domain.p[i] != ' ');
	strbuf_init(&text, 1024);
	need(mail_address_format(&text, a));
	need(mail_address_parse(strbuf_span(&text), flags, buf, &again, NULL) == 0);
	need(span_eq(a->local, again.local) && span_eq(a->domain, again.domain));
	strbuf_reset(&text);
	need(mail_path_format(&text, a));
	in = strbuf_span(&text);
	need(mail_path_take(&in, flags, buf, &again, NULL) == 0 && in.n == 0);
	need(span_eq(a->local, again.local) && span_eq(a->domain, again.domain));
	strbuf_clear(&text);
}

static void check_params(struct span in)
{
	struct mail_param param;

	while (mail_param_next(&in, &param, NULL) == 1) {
		struct strbuf plain, coded;

		need(param.key.n > 0 && param.key.n + param.value.n < MAIL_PARAM_MAX);
		strbuf_init(&plain, 1024);
		strbuf_init(&coded, 4096);
		if (mail_xtext_decode(&plain, param.value)) {
			struct strbuf again;

			strbuf_init(&again, 1024);
			need(mail_xtext_encode(&coded, strbuf_span(&plain)));
			need(mail_xtext_decode(&again, strbuf_span(&coded)));
			need(span_eq(strbuf_span(&plain), strbuf_span(&again)));
			strbuf_clear(&again);
		}
		strbuf_clear(&plain);
		strbuf_clear(&coded);
	}
}

static void check_list(struct span in)
{
	struct mail_list l;
	struct mail_entry entry;
	unsigned count = 0, groups = 0;

	mail_list_init(&l, in);
	while (mail_list_next(&l, &entry)) {
		need(++count <= 2 * MAIL_LIST_MAX + 1);
		need(entry.kind == MAIL_ENTRY_GROUP_END || entry.local.p);
		groups += entry.kind == MAIL_ENTRY_GROUP;
		groups -= entry.kind == MAIL_ENTRY_GROUP_END;
		need(groups <= 1);
	}
	need(groups == 0);
	mail_list_clear(&l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char buf[MAIL_PATH_MAX];
	struct mail_address a;
	char *copy = mem_dup(data, size);
	struct span in = span_from(span_make(copy, size), 1), rest = in;
	unsigned flags = size ? data[0] & 7 : 0;

	if (mail_path_take(&rest, flags, buf, &a, NULL) == 0) {
		check_address(&a, flags);
		check_params(rest);
	}
	if (mail_address_parse(in, flags, buf, &a, NULL) == 0)
		check_address(&a, flags);
	check_params(in);
	check_list(in);
	mem_free(copy);
	return 0;
}
