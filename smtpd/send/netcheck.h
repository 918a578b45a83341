/* Inside of check-network: netcheck.c asks and compares, egress.c tries port 25. */
#ifndef MS_SMTPD_SEND_NETCHECK_H
#define MS_SMTPD_SEND_NETCHECK_H

#include "smtpd/send/check.h"

#define FINDINGS_MAX 32

enum {
	FIND_IPV4,
	FIND_IPV6,
	FIND_NAME,
	FIND_REVERSE,
	FIND_REVERSE6,
	FIND_CLOCK,
	FIND_PORT25,
	FIND_LISTS, /* the first of them */
};

enum finding_status { FIND_OK, FIND_WARNING, FIND_FAILED, FIND_UNKNOWN };

struct netcheck;

struct finding {
	struct netcheck *n;
	char check[DNS_NAME_MAX + 16];
	char zone[128]; /* of a blocklist */
	bool is_done;
	enum finding_status status;
	char found[400];
	const char *advice;
};

struct name_addresses {
	enum dns_status status;
	char why[200];
	struct net_addr list[8];
	size_t count;
};

struct egress;

struct netcheck {
	struct send *send;
	struct config *cfg;
	struct admin_request rq;
	struct dns *dns; /* with an empty cache */
	char helo[DNS_NAME_MAX + 1];
	struct own_address own[2];
	struct name_addresses names[2]; /* of helo */
	struct net_addr public[2];
	bool has_public[2];
	size_t waiting;
	struct finding findings[FINDINGS_MAX];
	size_t count, told;
	bool has_started, is_over, is_relayed;
	struct egress *egress;
	struct deferred end;
};

/* The result of a check; tells what is known by now in order. advice is static. */
void finding_done(struct finding *f, enum finding_status status, const char *advice,
    const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Connects to the mail servers of network.probe_domains, one after the other, until one greets. */
struct egress *egress_start(struct netcheck *n, struct finding *f);
void egress_free(struct egress *e); /* NULL is fine */

#endif
