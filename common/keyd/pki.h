/*
 * Keys and certificates in memory, over OpenSSL: taking them apart, putting a chain in order,
 * making keys, self-signed certificates and signing requests. Input is whatever an administrator
 * (or somebody in his place) gives: at most PKI_INPUT_MAX bytes, every parser total, the work
 * bounded whatever the bytes say (iterations of a password's derivation, sizes of numbers, count of
 * certificates). No function logs or returns key material but through the bundle. Any thread.
 */
#ifndef MS_KEYD_PKI_H
#define MS_KEYD_PKI_H

#include "common/base/err.h"
#include "common/base/strbuf.h"

#include <openssl/evp.h>
#include <openssl/x509.h>

#define PKI_INPUT_MAX (1000 * 1024)
#define PKI_CERTS_MAX 32
#define PKI_KEYS_MAX 4
#define PKI_CHAIN_MAX 12
#define PKI_NAMES_MAX 256

/* What was found in an input, in its order. */
struct pki_input {
	EVP_PKEY *keys[PKI_KEYS_MAX];
	X509 *certs[PKI_CERTS_MAX];
	size_t key_count, cert_count;
	bool has_request;
	bool needs_password; /* something was encrypted and did not open */
};

/*
 * PEM (any number of blocks, text around them), DER, PKCS#7 or PKCS#12; password for encrypted
 * keys. ERR_INVALID says what was found. in is to be cleared in any case.
 */
int pki_parse(struct span input, struct span password, struct pki_input *in, struct err *err);
void pki_input_clear(struct pki_input *in);

/* A key with what belongs to it. */
struct pki_bundle {
	EVP_PKEY *key;
	X509 *chain[PKI_CHAIN_MAX]; /* leaf first, each signed by the next, no root but a leaf */
	size_t count;
	X509_REQ *request; /* of a pending one: then no chain */
};

void pki_bundle_clear(struct pki_bundle *b);
/*
 * Finds the leaf (the certificate of the key: of with_key, else of a key in the input), and puts
 * its issuers behind it, whatever order they came in. *left_out is how many certificates did not
 * belong.
 */
int pki_assemble(const struct pki_input *in, EVP_PKEY *with_key, struct pki_bundle *out,
    size_t *left_out, struct err *err);
/* The form on disk: key, then chain or request, in PEM. out from shelf_buf_init. */
int pki_bundle_write(const struct pki_bundle *b, struct strbuf *out, struct err *err);
int pki_bundle_read(struct span text, struct pki_bundle *b, struct err *err);
int pki_chain_pem(const struct pki_bundle *b, struct strbuf *out, struct err *err);
int pki_key_pem(const struct pki_bundle *b, struct strbuf *out, struct err *err);
int pki_request_pem(const struct pki_bundle *b, struct strbuf *out, struct err *err);

/* --- making ----------------------------------------------------------------------------------- */
/* "ecdsa" (P-256), "rsa2048", "rsa3072", "rsa4096", "ed25519" (DKIM only); NULL with err for
 * others. RSA takes up to seconds. */
EVP_PKEY *pki_key_new(struct span kind, struct err *err);

struct pki_subject {
	struct span cn, o, ou, l, st, c;  /* empty: left out */
	struct span names[PKI_NAMES_MAX]; /* subject alternative names: hosts, addresses */
	size_t name_count;
};

/* A certificate for the key, signed by it, from an hour before now. */
int pki_self_sign(EVP_PKEY *key, const struct pki_subject *s, unsigned days, int64_t now,
    struct pki_bundle *out, struct err *err);
int pki_make_request(
    EVP_PKEY *key, const struct pki_subject *s, struct pki_bundle *out, struct err *err);
/* A name that a certificate may carry: a host name, "*." in front of one, an IP address. */
bool pki_name_is_good(struct span name);

/* --- looking ---------------------------------------------------------------------------------- */
/* DNS names in lower case and IP addresses, as text. */
struct pki_names {
	size_t count;
	bool is_cut;
	char *list[PKI_NAMES_MAX];
};

void pki_names_of(const X509 *cert, struct pki_names *out);
void pki_names_clear(struct pki_names *n);
bool pki_names_match(const struct pki_names *n, struct span host);
/* "ECDSA P-256", "RSA 2048", "Ed25519". */
void pki_key_text(const EVP_PKEY *key, char out[40]);
int64_t pki_time(const ASN1_TIME *t); /* seconds since 1970, 0 if it is no time */
bool pki_is_self_signed(const X509 *cert);
/* A key that OpenSSL can use within bounds and that we let in. */
int pki_key_check(const EVP_PKEY *key, struct err *err);
/* Signs and verifies: the key is really the certificate's. */
bool pki_key_matches(const X509 *cert, EVP_PKEY *key);

/* Sets code and text with OpenSSL's first reason; clears its queue; -1. */
int pki_fail(struct err *err, enum err_code code, const char *what);

#endif
