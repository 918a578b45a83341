/*
 * What the administrator asks smtpd-send about the world: its own addresses, whether DNS says what
 * it should, whether other servers can be reached.
 */
#ifndef MS_SMTPD_SEND_CHECK_H
#define MS_SMTPD_SEND_CHECK_H

#include "smtpd/send/send.h"

/* --- addresses.c ------------------------------------------------------------------------------ */
struct own_address {
	struct net_addr addr;
	bool is_there;
	bool is_private; /* behind a router that translates: the world sees another one */
};

/* The addresses that mail is sent from, IPv4 and IPv6: those of outbound.bind, else what the
 * system's routes say; no packet is sent. */
void own_addresses(const struct config *cfg, struct own_address out[2]);
/* "network addresses": the public ones as rows type, value, name (of the PTR record). */
void network_addresses(struct send *s, const struct admin_request *rq);

/* --- compare.c -------------------------------------------------------------------------------- */
enum record_status { RECORD_OK, RECORD_MISSING, RECORD_DIFFERS, RECORD_UNKNOWN };

/* A record that should be there. */
struct wanted_record {
	struct span purpose, name, type, value; /* as authd's domain dns has them */
};

struct compared {
	enum record_status status;
	struct strbuf found; /* what is there, in words of a zone file; initialised by the caller */
	const char *advice;  /* never NULL */
};

const char *record_status_name(enum record_status s);
/* The type to ask for; false if nobody can be asked. CNAMEs are asked for as addresses. */
bool record_type(const struct wanted_record *w, enum dns_type *type);
/* Names are compared without the dot at their end and case. Pure. */
void record_compare(
    const struct wanted_record *w, const struct dns_answer *a, struct compared *out);

/* --- dns_check.c ------------------------------------------------------------------------------ */
/* "dns check": cmd's content is rows with name, type and value; each comes back with status, found
 * and advice. Asked with an empty cache. */
void dns_check(struct send *s, const struct ipc_admin *cmd, const struct admin_request *rq);

/* --- netcheck.c ------------------------------------------------------------------------------- */
/* "check-network": rows check, status (ok, warning, failed, unknown), found, advice. is_relayed: a
 * smarthost takes all mail, so that what hinders sending is a warning. */
void check_network(struct send *s, bool is_relayed, const struct admin_request *rq);

/* --- send_test.c ------------------------------------------------------------------------------ */
/* "send-test FROM TO local|remote", addresses as the queue has them: rows time, event, id, from, to
 * and text, as they happen. The end is good when the message was taken. */
void send_test(struct send *s, const struct ipc_admin *cmd, const struct admin_request *rq);

/* --- probe.c ---------------------------------------------------------------------------------- */
/* "probe-domain DOMAIN": rows check, status (ok, warning, failed), found, advice, the last of which
 * says whether mail goes out. */
void probe_domain(struct send *s, const struct ipc_admin *cmd, const struct admin_request *rq);
bool probes_are_idle(void); /* none holds on to the queue */

/* --- admin.c ---------------------------------------------------------------------------------- */
void send_admin(struct role *r, const struct ipc_admin *cmd, const struct admin_request *rq);

#endif
