/*
 * PKCS#12 (RFC 7292), walked by hand: OpenSSL's own PKCS12_parse would run however many iterations
 * of a derivation the file asks for.
 */
#include "common/base/mem.h"
#include "common/keyd/pki_int.h"

#include <openssl/asn1t.h>
#include <openssl/err.h>
#include <string.h>

#define SAFES_MAX 16
#define BAGS_MAX 64

/* --- bounds ----------------------------------------------------------------------------------- */
#define COST_UNKNOWN UINT64_MAX

static uint64_t cost_of(const ASN1_INTEGER *n)
{
	uint64_t v;

	return n && ASN1_INTEGER_get_uint64(&v, n) == 1 ? v : COST_UNKNOWN;
}

static uint64_t pbkdf2_cost(const ASN1_TYPE *parameter)
{
	PBKDF2PARAM *kdf = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBKDF2PARAM), parameter);
	uint64_t cost = kdf ? cost_of(kdf->iter) : COST_UNKNOWN;

	PBKDF2PARAM_free(kdf);
	return cost;
}

/* A block of scrypt costs about as much as an iteration of the others. */
static uint64_t scrypt_cost(const ASN1_TYPE *parameter)
{
	SCRYPT_PARAMS *kdf = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(SCRYPT_PARAMS), parameter);
	uint64_t n = 0, r = 0, p = 0, work = COST_UNKNOWN;

	if (!kdf || ASN1_INTEGER_get_uint64(&n, kdf->costParameter) != 1 ||
	    ASN1_INTEGER_get_uint64(&r, kdf->blockSize) != 1 ||
	    ASN1_INTEGER_get_uint64(&p, kdf->parallelizationParameter) != 1 ||
	    __builtin_mul_overflow(n, r, &work) || __builtin_mul_overflow(work, p, &work))
		work = COST_UNKNOWN;
	SCRYPT_PARAMS_free(kdf);
	return work;
}

static uint64_t pbes2_cost(const ASN1_TYPE *parameter)
{
	PBE2PARAM *pbe2 = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBE2PARAM), parameter);
	uint64_t cost = COST_UNKNOWN;

	if (pbe2 && pbe2->keyfunc) {
		int nid = OBJ_obj2nid(pbe2->keyfunc->algorithm);

		if (nid == NID_id_pbkdf2)
			cost = pbkdf2_cost(pbe2->keyfunc->parameter);
		else if (nid == NID_id_scrypt)
			cost = scrypt_cost(pbe2->keyfunc->parameter);
	}
	PBE2PARAM_free(pbe2);
	return cost;
}

static uint64_t derivation_cost(const X509_ALGOR *alg)
{
	PBEPARAM *pbe;
	uint64_t cost;

	if (!alg)
		return COST_UNKNOWN;
	if (OBJ_obj2nid(alg->algorithm) == NID_pbes2)
		return pbes2_cost(alg->parameter);
	pbe = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBEPARAM), alg->parameter);
	cost = pbe ? cost_of(pbe->iter) : COST_UNKNOWN;
	PBEPARAM_free(pbe);
	return cost;
}

static bool may_spend(struct parse *p, uint64_t cost)
{
	if (cost > p->budget)
		return false;
	p->budget -= cost;
	return true;
}

bool derivation_is_bounded(struct parse *p, const X509_ALGOR *alg)
{
	return may_spend(p, derivation_cost(alg));
}

/* --- bags ------------------------------------------------------------------------------------- */
static int too_long(struct parse *p)
{
	return err_set(p->err, ERR_LIMIT, "the PKCS#12 file's password derivation takes too long");
}

static int shrouded_key(struct parse *p, const PKCS12_SAFEBAG *bag)
{
	const X509_ALGOR *alg = NULL;
	const X509_SIG *sig = PKCS12_SAFEBAG_get0_pkcs8(bag);
	PKCS8_PRIV_KEY_INFO *p8;
	int result;

	if (!sig)
		return err_set(p->err, ERR_INVALID, "unreadable key in a PKCS#12 file");
	X509_SIG_get0(sig, &alg, NULL);
	if (!derivation_is_bounded(p, alg))
		return too_long(p);
	p8 = PKCS12_decrypt_skey(bag, p->password, (int)p->password_n);
	if (!p8)
		return pki_fail(p->err, ERR_INVALID, "a key in a PKCS#12 file does not open");
	result = parsed_pkcs8(p, p8);
	PKCS8_PRIV_KEY_INFO_free(p8);
	return result;
}

static int take_bag(struct parse *p, const PKCS12_SAFEBAG *bag)
{
	X509 *cert;

	switch (PKCS12_SAFEBAG_get_nid(bag)) {
	case NID_certBag:
		if (PKCS12_SAFEBAG_get_bag_nid(bag) != NID_x509Certificate)
			return 0;
		cert = PKCS12_SAFEBAG_get1_cert(bag);
		return cert ? parsed_cert(p, cert)
			    : pki_fail(
				  p->err, ERR_INVALID, "unreadable certificate in a PKCS#12 file");
	case NID_keyBag:
		return parsed_pkcs8(p, PKCS12_SAFEBAG_get0_p8inf(bag));
	case NID_pkcs8ShroudedKeyBag:
		return shrouded_key(p, bag);
	default:
		return 0; /* CRLs, secrets, bags in bags: nobody exports a certificate so */
	}
}

static STACK_OF(PKCS12_SAFEBAG) * open_safe(struct parse *p, PKCS7 *safe)
{
	if (PKCS7_type_is_data(safe))
		return PKCS12_unpack_p7data(safe);
	if (!PKCS7_type_is_encrypted(safe) || !safe->d.encrypted || !safe->d.encrypted->enc_data)
		return NULL;
	if (!derivation_is_bounded(p, safe->d.encrypted->enc_data->algorithm)) {
		too_long(p);
		return NULL;
	}
	return PKCS12_unpack_p7encdata(safe, p->password, (int)p->password_n);
}

static int take_safe(struct parse *p, PKCS7 *safe)
{
	STACK_OF(PKCS12_SAFEBAG) *bags = open_safe(p, safe);
	int result = 0;

	if (!bags && p->err && p->err->code == ERR_LIMIT)
		return -1;
	if (!bags)
		return pki_fail(p->err, ERR_INVALID, "a part of the PKCS#12 file does not open");
	if (sk_PKCS12_SAFEBAG_num(bags) > BAGS_MAX)
		result = err_set(p->err, ERR_LIMIT, "a PKCS#12 file with too many parts");
	for (int i = 0; result == 0 && i < sk_PKCS12_SAFEBAG_num(bags); i++)
		result = take_bag(p, sk_PKCS12_SAFEBAG_value(bags, i));
	sk_PKCS12_SAFEBAG_pop_free(bags, PKCS12_SAFEBAG_free);
	return result;
}

/* Without a password there may be none, or an empty one: two different things in PKCS#12. */
static int check_mac(struct parse *p, PKCS12 *p12)
{
	const ASN1_INTEGER *iterations = NULL;
	const X509_ALGOR *algorithm = NULL;
	const ASN1_OBJECT *name = NULL;

	if (!PKCS12_mac_present(p12))
		return 0;
	PKCS12_get0_mac(NULL, &algorithm, NULL, &iterations, p12);
	/* RFC 9579 hides another number in the parameters; OpenSSL 3.0 cannot do it anyway. */
	X509_ALGOR_get0(&name, NULL, NULL, algorithm);
	if (OBJ_obj2nid(name) == NID_pbmac1)
		return err_set(
		    p->err, ERR_UNSUPPORTED, "a PKCS#12 file with a PBMAC1 sum is not taken");
	/* Without a number it is one. */
	if (iterations && !may_spend(p, cost_of(iterations)))
		return too_long(p);
	if (PKCS12_verify_mac(p12, p->password, (int)p->password_n) == 1)
		return 0;
	if (p->password_n == 0 && PKCS12_verify_mac(p12, NULL, 0) == 1) {
		p->password = NULL;
		return 0;
	}
	ERR_clear_error();
	p->in->needs_password = true;
	return err_set(p->err, ERR_DENIED, "%s",
	    p->password_n > 0 ? "the password does not open the PKCS#12 file"
			      : "the PKCS#12 file is encrypted: its password is needed");
}

int parsed_pkcs12(struct parse *p, PKCS12 *p12)
{
	STACK_OF(PKCS7) * safes;
	int result = 0;

	if (check_mac(p, p12) < 0)
		return -1;
	safes = PKCS12_unpack_authsafes(p12);
	if (!safes)
		return pki_fail(p->err, ERR_INVALID, "unreadable PKCS#12 file");
	if (sk_PKCS7_num(safes) > SAFES_MAX)
		result = err_set(p->err, ERR_LIMIT, "a PKCS#12 file with too many parts");
	for (int i = 0; result == 0 && i < sk_PKCS7_num(safes); i++)
		result = take_safe(p, sk_PKCS7_value(safes, i));
	sk_PKCS7_pop_free(safes, PKCS7_free);
	return result;
}
