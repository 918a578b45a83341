/* Rewritten senders: there and back, forged, too old, through several forwarders. */
#include "common/authd/srs.h"
#include "tests/support/unit.h"

#define DAY 86400

static const unsigned char key[SRS_KEY_LEN] = "a key of thirty-two bytes, or so";
static const unsigned char other_key[SRS_KEY_LEN] = "another key";

static struct span local_of(const char *address)
{
	struct span s = span_of(address);

	return span_sub(s, 0, (size_t)span_rchr(s, '@'));
}

START_TEST(there_and_back)
{
	static const char *const senders[] = {"a@b.test", "alice+x=y@far.example.test",
	    "A.Lice@xn--bcher-kva.test", "srs0@b.test", "x-y_z@b.test"};

	for (size_t i = 0; i < ARRAY_LEN(senders); i++)
		for (int64_t day = 0; day < 3000; day += 211) {
			char out[SRS_MAX + 1], back[SRS_MAX + 1];

			ck_assert(srs_forward(
			    key, span_of(senders[i]), SPAN("our.test"), day * DAY, out));
			ck_assert(span_istarts(span_of(out), SPAN("SRS0=")));
			ck_assert(span_ends(span_of(out), SPAN("@our.test")));
			ck_assert(srs_reverse(key, local_of(out), (day + 21) * DAY, back));
			ck_assert_str_eq(back, senders[i]);
			ck_assert(!srs_reverse(key, local_of(out), (day + 23) * DAY, back));
			ck_assert(!srs_reverse(other_key, local_of(out), day * DAY, back));
		}
}
END_TEST

START_TEST(case_may_change_on_the_way)
{
	char out[SRS_MAX + 1], back[SRS_MAX + 1];

	ck_assert(srs_forward(key, SPAN("Bob@far.test"), SPAN("our.test"), 0, out));
	for (char *p = out; *p; p++)
		*p = ascii_lower(*p);
	ck_assert(srs_reverse(key, local_of(out), 0, back));
	ck_assert_str_eq(back, "bob@far.test");
}
END_TEST

START_TEST(forged_and_cut)
{
	char out[SRS_MAX + 1], back[SRS_MAX + 1];
	struct span local;

	ck_assert(srs_forward(key, SPAN("bob@far.test"), SPAN("our.test"), 0, out));
	local = local_of(out);
	for (size_t n = 0; n < local.n; n++) {
		struct span cut = exact(local.p, n);

		ck_assert(!srs_reverse(key, cut, 0, back));
		exact_free(cut);
	}
	for (size_t i = 5; i < local.n; i++) {
		char was = out[i];

		out[i] = was == 'x' ? 'y' : 'x';
		ck_assert_msg(!srs_reverse(key, local_of(out), 0, back), "%s", out);
		out[i] = was;
	}
	ck_assert(!srs_reverse(key, SPAN("SRS2=AAAAAA=AA=far.test=bob"), 0, back));
	ck_assert(!srs_is_one(SPAN("srs0")) && !srs_is_one(SPAN("srs0x=")));
}
END_TEST

START_TEST(several_forwarders)
{
	char first[SRS_MAX + 1], second[SRS_MAX + 1], third[SRS_MAX + 1], back[SRS_MAX + 1];

	ck_assert(srs_forward(key, SPAN("bob@far.test"), SPAN("one.test"), 0, first));
	ck_assert(srs_forward(other_key, span_of(first), SPAN("two.test"), 0, second));
	ck_assert(span_istarts(span_of(second), SPAN("SRS1=")));
	ck_assert(srs_forward(key, span_of(second), SPAN("three.test"), 0, third));
	/* The third leads back past the second, to the first. */
	ck_assert(srs_reverse(key, local_of(third), 0, back));
	ck_assert_str_eq(back, first);
	ck_assert(srs_reverse(other_key, local_of(second), 0, back));
	ck_assert_str_eq(back, first);
}
END_TEST

START_TEST(what_cannot_be_rewritten_stays)
{
	char out[SRS_MAX + 1], wide[70];

	memset(wide, 'a', sizeof(wide));
	memcpy(wide + 50, "@far.test", 10);
	ck_assert(!srs_forward(key, span_of(wide), SPAN("our.test"), 0, out));
	ck_assert(!srs_forward(key, SPAN("\"a b\"@far.test"), SPAN("our.test"), 0, out));
	ck_assert(!srs_forward(key, SPAN("a@[192.0.2.1]"), SPAN("our.test"), 0, out));
	ck_assert(!srs_forward(key, SPAN("postmaster"), SPAN("our.test"), 0, out));
	ck_assert(!srs_forward(key, SPAN(""), SPAN("our.test"), 0, out));
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {there_and_back, case_may_change_on_the_way, forged_and_cut,
	    several_forwarders, what_cannot_be_rewritten_stays};
	TCase *tc = tcase_create("srs");

	unit_add(tc, tests, ARRAY_LEN(tests));
	return unit_finish(tc);
}
