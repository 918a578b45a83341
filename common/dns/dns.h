/*
 * DNS with DNSSEC, by libunbound, whose own thread does the work: questions and answers pass on the
 * loop, nothing blocks. Only this folder includes libunbound. Names are absolute, in ASCII, without
 * the dot at the end. Loop thread.
 */
#ifndef MS_DNS_DNS_H
#define MS_DNS_DNS_H

#include "common/base/strbuf.h"
#include "common/event/loop.h"
#include "common/net/addr.h"

#define DNS_NAME_MAX 255
#define DNS_RECORDS_MAX 64

enum dns_type {
	DNS_A = 1,
	DNS_CNAME = 5,
	DNS_PTR = 12,
	DNS_MX = 15,
	DNS_TXT = 16,
	DNS_AAAA = 28,
	DNS_SRV = 33,
	DNS_TLSA = 52,
	DNS_CAA = 257,
};

enum dns_status {
	DNS_FOUND,
	DNS_NO_RECORD, /* the name is there, or may be, but not with this type */
	DNS_NO_NAME,   /* NXDOMAIN */
	DNS_FAILED,    /* no answer, or not a good one: try later */
	DNS_BOGUS,     /* DNSSEC says that it is forged: as failed, with why */
};

struct dns_answer {
	enum dns_status status;
	bool is_secure; /* proven by DNSSEC, also that there is nothing */
	uint32_t ttl;
	const char *canonical; /* the name after CNAMEs; "" if it is the one asked for */
	const char *why;       /* FAILED, BOGUS: for the log; "" otherwise */
	size_t count;
	struct span records[DNS_RECORDS_MAX]; /* RDATA, names not compressed */
};

struct dns_options {
	const char *servers; /* "192.0.2.1, 2001:db8::1@5353"; empty: recursion from the root */
	const char *trust_anchor; /* a file; empty: the root's, where it is; "none": no DNSSEC */
	uint64_t deadline_ms;     /* of one question; 0: 20 s */
};

struct dns;
struct dns_query;

int dns_new(struct loop *loop, const struct dns_options *opt, struct dns **out, struct err *err);
void dns_free(struct dns *d); /* questions that wait end without an answer; NULL is fine */
/* on_answer comes once, never from inside; the answer is valid until it returns. */
struct dns_query *dns_ask(struct dns *d, const char *name, enum dns_type type,
    void (*on_answer)(void *arg, const struct dns_answer *a), void *arg);
void dns_cancel(struct dns_query *q); /* no answer will come */
bool dns_is_validating(const struct dns *d);

/* --- what records hold: total, false for what is malformed --------------------------------------
 */
bool dns_address(enum dns_type type, struct span rdata, struct net_addr *out);
/* Lower case; "" is the root. False also for labels with more than letters, digits, '-' and '_'. */
bool dns_mx(struct span rdata, uint16_t *preference, char host[DNS_NAME_MAX + 1]);
bool dns_name(struct span rdata, char name[DNS_NAME_MAX + 1]); /* PTR, CNAME */
bool dns_txt(struct span rdata, struct strbuf *out);           /* its strings joined */
struct dns_tlsa {
	uint8_t usage, selector, matching;
	struct span data;
};
bool dns_tlsa(struct span rdata, struct dns_tlsa *out);
/* "4.3.2.1.in-addr.arpa" */
void dns_reverse_name(const struct net_addr *a, char out[DNS_NAME_MAX + 1]);

#endif
