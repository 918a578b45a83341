/*
 * Names of people and domains in the one form that rows and look-ups use: local part in lower case
 * (ASCII), domain as lower-case A-labels (IDNA 2008 through libidn2). No I/O; any thread.
 */
#ifndef MS_AUTHD_NAME_H
#define MS_AUTHD_NAME_H

#include "common/base/err.h"
#include "common/mail/address.h"

/* A local part of 64 bytes may need quotes and a backslash before each byte. */
#define NAME_TEXT_MAX (2 * MAIL_LOCAL_MAX + 2 + 1 + MAIL_DOMAIN_MAX)

struct name {
	char local[MAIL_LOCAL_MAX + 1]; /* without quotes; empty: every name of the domain */
	size_t local_n;
	char domain[MAIL_DOMAIN_MAX + 1]; /* empty: only "postmaster" */
	size_t domain_n;
};

/* A domain name into lower-case A-labels. ERR_INVALID. */
int name_domain(struct span in, char out[MAIL_DOMAIN_MAX + 1], size_t *n, struct err *err);
/* An address; the local part may be quoted or not. "postmaster" alone gives an empty domain. An
 * address literal keeps its brackets (it belongs to no domain of ours). ERR_INVALID. */
int name_parse(struct name *nm, struct span in, struct err *err);
/* The same, and "@domain": a catch-all. */
int name_parse_alias(struct name *nm, struct span in, struct err *err);
/* The key form, which name_parse_alias reads again; returns its length. NUL-terminated. */
size_t name_format(const struct name *nm, char out[NAME_TEXT_MAX + 1]);

struct span name_local(const struct name *nm);
struct span name_domain_span(const struct name *nm);

#endif
