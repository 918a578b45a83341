#include "common/crypto/sign.h"

#include "common/base/mem.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#define PEM_MAX (16 * 1024)

struct sign_key {
	EVP_PKEY *key;
	bool is_rsa;
};

struct sign_key *sign_key_read(struct span pem, struct err *err)
{
	BIO *bio = pem.n > 0 && pem.n <= PEM_MAX ? BIO_new_mem_buf(pem.p, (int)pem.n) : NULL;
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
	int kind = key ? EVP_PKEY_base_id(key) : 0;
	struct sign_key *k;

	BIO_free(bio);
	ERR_clear_error();
	if ((kind != EVP_PKEY_RSA && kind != EVP_PKEY_ED25519) ||
	    EVP_PKEY_size(key) > SIGNATURE_MAX) {
		EVP_PKEY_free(key);
		err_set(err, ERR_INVALID, "no RSA or Ed25519 key");
		return NULL;
	}
	k = mem_zalloc(sizeof(*k));
	k->key = key;
	k->is_rsa = kind == EVP_PKEY_RSA;
	return k;
}

void sign_key_free(struct sign_key *k)
{
	if (!k)
		return;
	EVP_PKEY_free(k->key);
	mem_free(k);
}

bool sign_key_is_rsa(const struct sign_key *k)
{
	return k->is_rsa;
}

static bool sign_rsa(EVP_PKEY *key, const unsigned char *hash, unsigned char *out, size_t *n)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	bool is_good = ctx && EVP_PKEY_sign_init(ctx) == 1 &&
		       EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1 &&
		       EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) == 1 &&
		       EVP_PKEY_sign(ctx, out, n, hash, SHA256_LEN) == 1;

	EVP_PKEY_CTX_free(ctx);
	return is_good;
}

static bool sign_ed25519(EVP_PKEY *key, const unsigned char *hash, unsigned char *out, size_t *n)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool is_good = ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, key) == 1 &&
		       EVP_DigestSign(ctx, out, n, hash, SHA256_LEN) == 1;

	EVP_MD_CTX_free(ctx);
	return is_good;
}

int sign_hash(const struct sign_key *k, const unsigned char hash[SHA256_LEN],
    unsigned char out[SIGNATURE_MAX], size_t *n, struct err *err)
{
	bool is_good;

	*n = SIGNATURE_MAX;
	is_good = k->is_rsa ? sign_rsa(k->key, hash, out, n) : sign_ed25519(k->key, hash, out, n);
	ERR_clear_error();
	return is_good ? 0 : err_set(err, ERR_IO, "a signature cannot be made");
}
