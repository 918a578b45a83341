/* What is said about a certificate before it is installed. */
#include "common/keyd/report.h"
#include "tests/support/ca.h"
#include "tests/support/unit.h"

#include <unistd.h>

static struct ca_cert root, middle;
static char ca_file[] = "/tmp/mailstead-test-XXXXXX";
static const char *const mail[] = {"mail.example.test"};
static const char *const two[] = {"mail.example.test", "imap.example.test"};

static void make_all(void)
{
	struct strbuf pem;
	int fd = mkstemp(ca_file);

	ck_assert_int_ge(fd, 0);
	root = ca_make(
	    &(struct ca_want){
		.name = "Test Root", .is_ca = true, .until = CA_NOW + 3650 * (int64_t)CA_DAY},
	    NULL);
	middle = ca_make(&(struct ca_want){.name = "Test Intermediate",
			     .is_ca = true,
			     .until = CA_NOW + 1000 * (int64_t)CA_DAY},
	    &root);
	strbuf_init(&pem, 100000);
	ca_add_cert(&pem, root.cert, false);
	ck_assert_int_eq(write(fd, pem.p, pem.n), (ssize_t)pem.n);
	strbuf_clear(&pem);
	close(fd);
}

static void free_all(void)
{
	unlink(ca_file);
	ca_free(&root);
	ca_free(&middle);
}

/* The level of a finding whose text has these words; -1 if there is none. */
static int level_of(const struct report *r, const char *check, const char *words)
{
	for (size_t i = 0; i < r->count; i++)
		if (strcmp(r->list[i].check, check) == 0 && strstr(r->list[i].text, words))
			return (int)r->list[i].level;
	return -1;
}

static bool has_client(const struct report *r, const char *words)
{
	return level_of(r, "client", words) >= 0;
}

struct looking {
	struct ca_want want;
	const struct ca_cert *issuer; /* NULL: self-signed */
	bool without_middle;
	const char *const *hosts;
	size_t host_count;
	size_t left_out;
};

static void look(const struct looking *l, struct report *r)
{
	struct ca_cert leaf = ca_make(&l->want, l->issuer);
	struct pki_bundle b = {.key = leaf.key,
	    .chain = {leaf.cert, middle.cert},
	    .count = l->issuer && !l->without_middle ? 2 : 1};
	struct report_options o = {.hosts = l->hosts ? l->hosts : mail,
	    .host_count = l->hosts ? l->host_count : 1,
	    .ca_file = ca_file,
	    .now = CA_NOW,
	    .left_out = l->left_out};

	report_make(&b, &o, r);
	ca_free(&leaf);
}

START_TEST(nothing_to_complain)
{
	struct report r;

	look(
	    &(struct looking){
		.want = {.name = "mail.example.test"}, .issuer = &middle, .left_out = 2},
	    &r);
	ck_assert(!r.has_error);
	for (size_t i = 0; i < r.count; i++)
		ck_assert_msg(
		    r.list[i].level == FINDING_OK, "%s: %s", r.list[i].check, r.list[i].text);
	ck_assert_int_eq(level_of(&r, "key", "ECDSA P-256"), FINDING_OK);
	ck_assert_int_eq(level_of(&r, "names", "mail.example.test is covered"), FINDING_OK);
	ck_assert_int_eq(level_of(&r, "chain", "complete, up to CN=Test Root"), FINDING_OK);
	ck_assert_int_eq(level_of(&r, "chain", "2 certificates that do not belong"), FINDING_OK);
	ck_assert_int_eq(level_of(&r, "expiry", "90 more days"), FINDING_OK);
	ck_assert(has_client(&r, "before 2012"));
}
END_TEST

START_TEST(chains)
{
	struct report r;

	look(&(struct looking){.want = {.name = "mail.example.test"}}, &r);
	ck_assert_int_eq(level_of(&r, "chain", "self-signed"), FINDING_WARNING);
	ck_assert(has_client(&r, "Thunderbird") && !r.has_error);
	look(
	    &(struct looking){
		.want = {.name = "mail.example.test"}, .issuer = &middle, .without_middle = true},
	    &r);
	ck_assert_int_eq(level_of(&r, "chain", "CN=Test Intermediate, which is"), -1);
	ck_assert_int_eq(level_of(&r, "chain", "CN=Test Intermediate is neither"), FINDING_WARNING);
	ck_assert(has_client(&r, "Android") && !r.has_error);
}
END_TEST

START_TEST(dates)
{
	struct report r;
	struct looking l = {.want = {.name = "mail.example.test"}, .issuer = &middle};

	l.want.until = CA_NOW - CA_DAY;
	l.want.from = CA_NOW - 90 * CA_DAY;
	look(&l, &r);
	ck_assert(r.has_error && has_client(&r, "not valid now"));
	ck_assert_int_eq(level_of(&r, "expiry", "expired 1 days ago"), FINDING_ERROR);
	l.want.until = CA_NOW + 90 * CA_DAY;
	l.want.from = CA_NOW + 2 * 3600;
	look(&l, &r);
	ck_assert_int_eq(level_of(&r, "expiry", "becomes valid only in 3 hours"), FINDING_ERROR);
	l.want.from = 0;
	l.want.until = CA_NOW + 10 * CA_DAY + 60;
	look(&l, &r);
	ck_assert_int_eq(level_of(&r, "expiry", "10 more days"), FINDING_WARNING);
	ck_assert(!r.has_error);
	/* A public authority signs for 398 days at most, a private one for as long as it likes,
	 * but Apple takes 825. */
	l.want.until = CA_NOW + 500 * CA_DAY;
	look(&l, &r);
	ck_assert(has_client(&r, "Apple Mail refuses"));
	l.issuer = NULL;
	look(&l, &r);
	ck_assert(!has_client(&r, "Apple Mail refuses"));
	l.want.until = CA_NOW + 900 * CA_DAY;
	look(&l, &r);
	ck_assert(has_client(&r, "Apple Mail refuses"));
}
END_TEST

START_TEST(names)
{
	struct report r;
	struct looking l = {.want = {.name = "www.example.test"}, .issuer = &middle};

	look(&l, &r);
	ck_assert(r.has_error && has_client(&r, "does not hold"));
	ck_assert_int_eq(level_of(&r, "names", "mail.example.test, which clients"), FINDING_ERROR);
	l.hosts = two;
	l.host_count = 2;
	l.want.name = "imap.example.test";
	look(&l, &r);
	ck_assert(!r.has_error && has_client(&r, "does not hold"));
	ck_assert_int_eq(level_of(&r, "names", "mail.example.test, which"), FINDING_WARNING);
	ck_assert_int_eq(level_of(&r, "names", "imap.example.test is covered"), FINDING_OK);
	l.want.names = "DNS:*.example.test";
	look(&l, &r);
	ck_assert_int_eq(level_of(&r, "names", "mail.example.test is covered"), FINDING_OK);
	ck_assert(!has_client(&r, "does not hold"));
	l.want = (struct ca_want){.name = "mail.example.test", .without_san = true};
	look(&l, &r);
	ck_assert(r.has_error && has_client(&r, "only in the subject"));
}
END_TEST

START_TEST(kinds_of_keys)
{
	static const struct {
		const char *kind, *text, *client;
	} rows[] = {{"P-521", "ECDSA P-521", "P-521"}, {"ED25519", "Ed25519", "Ed25519"},
	    {"RSA", "RSA 2048", NULL}};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct looking l = {.want = {.name = "mail.example.test"}, .issuer = &middle};
		struct report r;

		l.want.key = strcmp(rows[i].kind, "RSA") == 0 ? EVP_RSA_gen(2048)
			     : rows[i].kind[0] == 'P'         ? EVP_EC_gen(rows[i].kind)
						      : EVP_PKEY_Q_keygen(NULL, NULL, rows[i].kind);
		look(&l, &r);
		ck_assert_int_eq(level_of(&r, "key", rows[i].text), FINDING_OK);
		if (rows[i].client)
			ck_assert(has_client(&r, rows[i].client));
		else
			ck_assert(!has_client(&r, ""));
		EVP_PKEY_free(l.want.key);
	}
}
END_TEST

START_TEST(old_signatures)
{
	struct report r;

	look(&(struct looking){.want = {.name = "mail.example.test", .md = EVP_sha1()},
		 .issuer = &middle},
	    &r);
	ck_assert_int_eq(
	    level_of(&r, "signature", "certificate 1 is signed with SHA1"), FINDING_WARNING);
	ck_assert(has_client(&r, "SHA-1 or older"));
}
END_TEST

/* The key of another certificate is never installed. */
START_TEST(foreign_key)
{
	struct ca_cert a = ca_make(&(struct ca_want){.name = "mail.example.test"}, &middle);
	struct ca_cert b = ca_make(&(struct ca_want){.name = "mail.example.test"}, &middle);
	struct pki_bundle bundle = {.key = b.key, .chain = {a.cert}, .count = 1};
	struct report_options o = {.ca_file = ca_file, .now = CA_NOW};
	struct report r;

	report_make(&bundle, &o, &r);
	ck_assert(r.has_error);
	ck_assert_int_eq(level_of(&r, "key", "not the certificate's"), FINDING_ERROR);
	ca_free(&a);
	ca_free(&b);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
	    nothing_to_complain, chains, dates, names, kinds_of_keys, old_signatures, foreign_key};
	TCase *tc = tcase_create("report");

	tcase_set_timeout(tc, 60);
	tcase_add_unchecked_fixture(tc, make_all, free_all);
	unit_add(tc, tests, ARRAY_LEN(tests));
	return unit_finish(tc);
}
