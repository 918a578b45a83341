/*
 * DKIM signatures (RFC 6376, RFC 8463) of messages on their way: relaxed/relaxed, without l=, one
 * with each key of the domain in From. A message passes once to be signed and once to be sent; of
 * it only the header is held in memory. One signer is one thread's; keys may be shared.
 */
#ifndef MS_SMTPD_SEND_DKIM_H
#define MS_SMTPD_SEND_DKIM_H

#include "common/base/hash.h"
#include "common/crypto/sign.h"
#include "common/mail/header.h"

#define DKIM_DOMAIN_KEYS 4
#define DKIM_HEADER_MAX MAIL_HEADER_MAX /* a message with a longer header is not signed */
#define DKIM_FIELDS_MAX (DKIM_DOMAIN_KEYS * 8192)

/* The keys of all domains at one moment. Counted: the loop's thread takes and gives references, and
 * a signer on another thread uses what its owner holds. */
struct dkim_keys;

struct dkim_keys *dkim_keys_new(void);
struct dkim_keys *dkim_keys_ref(struct dkim_keys *k);
void dkim_keys_unref(struct dkim_keys *k); /* NULL is fine */
/* ERR_INVALID: a key that does not decode; ERR_LIMIT: the domain has too many. */
int dkim_keys_add(struct dkim_keys *k, struct span domain, struct span selector, struct span pem,
    struct err *err);
size_t dkim_keys_count(const struct dkim_keys *k); /* domains */

struct dkim_signer;

/* keys must stay. time goes into t=, seconds since 1970. */
struct dkim_signer *dkim_signer_new(const struct dkim_keys *keys, int64_t time);
/* The message as it goes out but for dots: every line ends in CRLF. */
void dkim_signer_feed(struct dkim_signer *s, struct span bytes);
/*
 * Appends the DKIM-Signature fields, to stand in front of the message: none if From is not one
 * field with one domain that has keys (*why says so, else NULL). Frees the signer.
 */
int dkim_signer_end(
    struct dkim_signer *s, struct strbuf *fields, const char **why, struct err *err);
void dkim_signer_free(struct dkim_signer *s); /* NULL is fine */

#endif
