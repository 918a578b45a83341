/* Where mail for a domain goes (RFC 5321 section 5.1, RFC 7505): the logic alone, without asking.
 */
#ifndef MS_SMTPD_SEND_MX_H
#define MS_SMTPD_SEND_MX_H

#include "common/dns/dns.h"

#define MX_HOSTS_MAX 16

struct mx_host {
	uint16_t preference;
	char name[DNS_NAME_MAX + 1];
};

struct mx_list {
	struct mx_host hosts[MX_HOSTS_MAX];
	size_t count;
	bool is_null; /* RFC 7505: the domain takes no mail */
	bool is_loop; /* the best of them is ourselves */
};

/*
 * From the records of an answer: by preference, equals in an order by chance, malformed ones left
 * out, the best MX_HOSTS_MAX. our_name (server.hostname) and whatever is not better than it is left
 * out: mail that reached a backup must not go round.
 */
void mx_sort(struct mx_list *out, const struct dns_answer *a, const char *our_name,
    uint32_t (*chance)(uint32_t below));

#endif
