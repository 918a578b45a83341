/* What DNS says beside what it should say: each type, right, wrong and malformed. */
#include "smtpd/send/check.h"
#include "tests/support/unit.h"

#define HOST "\004mail\007example\003org\000"
#define OTHER "\005other\007example\003org\000"
#define RDATA(lit) SPAN_INIT(lit)

struct row {
	const char *type, *purpose, *value;
	struct span records[3];
	bool is_secure;
	enum record_status want;
};

static const struct row rows[] = {
    {"MX", "mx", "10 mail.example.org.", {RDATA("\000\012" HOST)}, false, RECORD_OK},
    {"MX", "mx", "10 mail.example.org.", {RDATA("\000\005" OTHER), RDATA("\000\012" HOST)}, false,
	RECORD_DIFFERS},
    {"MX", "mx", "10 mail.example.org.", {RDATA("\000\024" OTHER), RDATA("\000\012" HOST)}, false,
	RECORD_OK},
    {"MX", "mx", "10 mail.example.org.", {RDATA("\000")}, false, RECORD_DIFFERS},
    {"SRV", "srv-imaps", "0 1 993 mail.example.org.", {RDATA("\000\000\000\001\003\341" HOST)},
	false, RECORD_OK},
    {"SRV", "srv-imaps", "0 1 993 mail.example.org.", {RDATA("\000\000\000\001\000\217" HOST)},
	false, RECORD_DIFFERS},
    {"SRV", "srv-imaps", "0 1 993 mail.example.org.", {RDATA("\000\000")}, false, RECORD_DIFFERS},
    {"TLSA", "tlsa", "3 1 1 abcd", {RDATA("\003\001\001\xab\xcd")}, true, RECORD_OK},
    {"TLSA", "tlsa", "3 1 1 ABCD", {RDATA("\003\001\001\x12"), RDATA("\003\001\001\xab\xcd")}, true,
	RECORD_OK},
    {"TLSA", "tlsa", "3 1 1 abcd", {RDATA("\003\001\001\xab\xce")}, true, RECORD_DIFFERS},
    {"TLSA", "tlsa", "3 1 1 abcd", {RDATA("\003\001\001\xab\xcd")}, false, RECORD_DIFFERS},
    {"CAA", "caa", "0 issue \"ca.example\"", {RDATA("\000\005issueca.example")}, false, RECORD_OK},
    {"CAA", "caa", "0 issue \"ca.example\"", {RDATA("\000\377issue")}, false, RECORD_DIFFERS},
    {"CAA", "caa", "0 issue \"ca.example\"", {RDATA("\000")}, false, RECORD_DIFFERS},
    {"PTR", "reverse", "mail.example.org.", {RDATA("\004MAIL\007example\003org\000")}, false,
	RECORD_OK},
    {"PTR", "reverse", "mail.example.org.", {RDATA(OTHER)}, false, RECORD_DIFFERS},
    {"A", "address", "192.0.2.1", {RDATA("\300\000\002\001")}, false, RECORD_OK},
    {"A", "address", "192.0.2.1", {RDATA("\300\000\002\002")}, false, RECORD_DIFFERS},
    {"A", "address", "192.0.2.1", {RDATA("\300")}, false, RECORD_DIFFERS},
    {"A", "address", "", {RDATA("\300\000\002\002")}, false, RECORD_OK},
    {"TXT", "spf", "v=spf1 mx ~all", {RDATA("\016v=spf1 mx ~all")}, false, RECORD_OK},
    {"TXT", "spf", "v=spf1 mx ~all", {RDATA("\007v=spf1 \007+A -all")}, false, RECORD_OK},
    {"TXT", "spf", "v=spf1 mx ~all", {RDATA("\032v=spf1 include:a.test -all")}, false, RECORD_OK},
    {"TXT", "spf", "v=spf1 mx ~all", {RDATA("\013v=spf1 -all")}, false, RECORD_DIFFERS},
    {"TXT", "spf", "v=spf1 mx ~all", {RDATA("\016v=spf1 mx ~all"), RDATA("\006v=spf1")}, false,
	RECORD_DIFFERS},
    {"TXT", "spf", "v=spf1 mx ~all", {RDATA("\010v=spf10 "), RDATA("\001x")}, false,
	RECORD_MISSING},
    {"TXT", "dkim", "v=DKIM1; k=rsa; p=AB==", {RDATA("\011v=DKIM1; \016k=rsa; p=A B==")}, false,
	RECORD_OK},
    {"TXT", "dkim", "v=DKIM1; k=rsa; p=AB==", {RDATA("\026v=DKIM1; k=rsa; p=AC==")}, false,
	RECORD_DIFFERS},
    {"TXT", "dkim", "v=DKIM1; k=rsa; p=AB==", {RDATA("\002p=")}, false, RECORD_DIFFERS},
    {"TXT", "dkim", "v=DKIM1; k=rsa; p=AB==", {RDATA("\006p=AB=="), RDATA("\006p=AB==")}, false,
	RECORD_DIFFERS},
    {"TXT", "dmarc", "", {RDATA("\024v=DMARC1; p = reject")}, false, RECORD_OK},
    {"TXT", "dmarc", "", {RDATA("\010v=DMARC1")}, false, RECORD_DIFFERS},
    {"TXT", "mta-sts", "", {RDATA("\015v=STSv1; id=1")}, false, RECORD_OK},
    {"TXT", "tls-rpt", "", {RDATA("\027v=TLSRPTv1;rua=mailto:a")}, false, RECORD_OK},
    {"TXT", "tls-rpt", "", {RDATA("\377v=TLSRPTv1")}, false, RECORD_MISSING},
};

START_TEST(each_type)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i];
		struct wanted_record want = {.name = SPAN("example.org."),
		    .type = span_of(r->type),
		    .purpose = span_of(r->purpose),
		    .value = span_of(r->value)};
		struct dns_answer a = {
		    .status = DNS_FOUND, .is_secure = r->is_secure, .canonical = "", .why = ""};
		struct compared out = {0};

		for (; a.count < ARRAY_LEN(r->records) && r->records[a.count].p; a.count++)
			a.records[a.count] = exact(r->records[a.count].p, r->records[a.count].n);
		strbuf_init(&out.found, 4096);
		record_compare(&want, &a, &out);
		ck_assert_msg(out.status == r->want, "row %zu (%s): %s, found %s", i, r->purpose,
		    record_status_name(out.status), out.found.p);
		ck_assert((out.advice[0] == '\0') == (out.status == RECORD_OK));
		strbuf_clear(&out.found);
		for (size_t k = 0; k < a.count; k++)
			exact_free(a.records[k]);
	}
}
END_TEST

/* Names that are aliases: of the server, of another one, of none. */
START_TEST(aliases)
{
	static const struct {
		const char *canonical;
		enum record_status want;
	} names[] = {{"mail.example.org", RECORD_OK}, {"Mail.Example.Org.", RECORD_OK},
	    {"other.example.org", RECORD_DIFFERS}, {"", RECORD_OK}};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct wanted_record want = {.name = SPAN("autoconfig.example.org."),
		    .type = SPAN("CNAME"),
		    .purpose = SPAN("autoconfig"),
		    .value = SPAN("mail.example.org.")};
		struct dns_answer a = {.status = DNS_FOUND,
		    .canonical = names[i].canonical,
		    .why = "",
		    .count = 1,
		    .records = {SPAN("\300\000\002\001")}};
		struct compared out = {0};

		strbuf_init(&out.found, 4096);
		record_compare(&want, &a, &out);
		ck_assert_msg(out.status == names[i].want, "%s", names[i].canonical);
		strbuf_clear(&out.found);
	}
}
END_TEST

START_TEST(no_answers)
{
	static const struct {
		enum dns_status status;
		const char *name;
		enum record_status want;
	} cases[] = {{DNS_NO_NAME, "a.org.", RECORD_MISSING},
	    {DNS_NO_RECORD, "a.org.", RECORD_MISSING}, {DNS_FAILED, "a.org.", RECORD_UNKNOWN},
	    {DNS_BOGUS, "a.org.", RECORD_UNKNOWN}, {DNS_FOUND, "", RECORD_UNKNOWN}};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct wanted_record want = {.name = span_of(cases[i].name),
		    .type = SPAN("TXT"),
		    .purpose = SPAN("spf"),
		    .value = SPAN("v=spf1")};
		struct dns_answer a = {
		    .status = cases[i].status, .canonical = "", .why = "a\nreason"};
		struct compared out = {0};

		strbuf_init(&out.found, 4096);
		record_compare(&want, &a, &out);
		ck_assert_int_eq(out.status, cases[i].want);
		ck_assert_ptr_null(strchr(out.found.p, '\n'));
		ck_assert(out.advice[0]);
		strbuf_clear(&out.found);
	}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {each_type, aliases, no_answers};
	TCase *tc = tcase_create("compare");

	unit_add(tc, tests, ARRAY_LEN(tests));
	return unit_finish(tc);
}
