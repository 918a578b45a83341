#include "smtpd/send/mx.h"

#include <string.h>

static bool is_after(const struct mx_host *a, const struct mx_host *b)
{

	return a->preference > b->preference;
}

static void swap(struct mx_host *a, struct mx_host *b)
{
	struct mx_host t = *a;

	*a = *b;
	*b = t;
}

static size_t read_all(const struct dns_answer *a, struct mx_host *all)
{
	size_t n = 0;

	for (size_t i = 0; i < a->count; i++)
		if (dns_mx(a->records[i], &all[n].preference, all[n].name))
			n++;
	return n;
}

void mx_sort(struct mx_list *out, const struct dns_answer *a, const char *our_name,
    uint32_t (*chance)(uint32_t below))
{
	static _Thread_local struct mx_host all[DNS_RECORDS_MAX];
	size_t n = read_all(a, all);
	uint32_t limit = UINT32_MAX;

	*out = (struct mx_list){0};
	if (n == 1 && all[0].name[0] == '\0') {
		out->is_null = true;
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (span_ieq(span_of(all[i].name), span_of(our_name)) && all[i].preference < limit)
			limit = all[i].preference;
	/* Shuffled first, and then sorted by insertion, which leaves equals as they are. */
	for (size_t i = n; i > 1; i--)
		swap(&all[i - 1], &all[chance((uint32_t)i)]);
	for (size_t i = 1; i < n; i++)
		for (size_t k = i; k > 0 && is_after(&all[k - 1], &all[k]); k--)
			swap(&all[k - 1], &all[k]);
	for (size_t i = 0; i < n && out->count < MX_HOSTS_MAX; i++)
		if (all[i].name[0] != '\0' && all[i].preference < limit)
			out->hosts[out->count++] = all[i];
	out->is_loop = out->count == 0 && limit != UINT32_MAX;
}
