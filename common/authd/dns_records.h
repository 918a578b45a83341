/*
 * Every DNS record that a domain needs, as rows of an answer (common/README.md says what is in
 * them): made from the configuration and from what keyd and smtpd-send said. No I/O.
 */
#ifndef MS_AUTHD_DNS_RECORDS_H
#define MS_AUTHD_DNS_RECORDS_H

#include "common/base/strbuf.h"
#include "common/config/config.h"

#define DNS_ROWS_MAX (512 * 1024)

struct dns_source {
	const struct config *cfg;
	struct span domain;
	struct span keys;      /* rows of keyd's "dns", each a byte string */
	struct span addresses; /* rows of smtpd-send's "network addresses" */
	bool has_smarthost;    /* the domain's mail leaves through another server */
};

/* Appends the rows, each a byte string; the names and values are absolute. */
void dns_records(const struct dns_source *from, struct strbuf *rows);
/* A line of a zone file (RFC 1035 section 5.1), TXT in strings of at most 255 bytes. */
void dns_zone_line(struct strbuf *out, struct span name, struct span type, struct span value);

#endif
