#include "common/authd/srs.h"

#include "common/base/mem.h"
#include "common/crypto/crypto.h"

#include <stdio.h>
#include <string.h>

#define HASH_LEN 6 /* characters of 5 bits */
#define DAY 86400
#define DAYS_MAX 1024 /* two characters */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

bool srs_is_one(struct span local)
{
	return local.n > 5 &&
	       (span_istarts(local, SPAN("SRS0")) || span_istarts(local, SPAN("SRS1"))) &&
	       (local.p[4] == '=' || local.p[4] == '+' || local.p[4] == '-');
}

static void hash_of(
    const unsigned char key[SRS_KEY_LEN], char kind, struct span text, char out[HASH_LEN + 1])
{
	unsigned char sum[SHA256_LEN];
	struct strbuf b;

	strbuf_init(&b, 4 * SRS_MAX);
	strbuf_add_chr(&b, kind);
	for (size_t i = 0; i < text.n; i++)
		strbuf_add_chr(&b, ascii_lower(text.p[i]));
	hmac_sha256(span_make(key, SRS_KEY_LEN), strbuf_span(&b), sum);
	strbuf_clear(&b);
	for (size_t i = 0; i < HASH_LEN; i++)
		out[i] = alphabet[sum[i] & 31];
	out[HASH_LEN] = '\0';
}

static bool is_address(const char *text)
{
	char buf[MAIL_PATH_MAX];
	struct mail_address a;

	return mail_address_parse(span_of(text), MAIL_ADDRESS_UTF8, buf, &a, NULL) == 0;
}

bool srs_forward(const unsigned char key[SRS_KEY_LEN], struct span sender, struct span our_domain,
    int64_t now, char out[SRS_MAX + 1])
{
	ssize_t at = span_rchr(sender, '@');
	struct span local = span_sub(sender, 0, at < 0 ? 0 : (size_t)at);
	struct span domain = span_from(sender, (size_t)(at + 1));
	char text[SRS_MAX + 1], hash[HASH_LEN + 1];
	unsigned day = (unsigned)(now / DAY % DAYS_MAX);
	bool is_again = srs_is_one(local);
	int n;

	/* A quoted one would have to be quoted as a whole. */
	if (at <= 0 || local.p[0] == '"')
		return false;
	if (is_again && ascii_lower(local.p[3]) == '1')
		n = snprintf(
		    text, sizeof(text), "%.*s", SPAN_FMT(span_from(local, 5 + HASH_LEN + 1)));
	else if (is_again)
		n = snprintf(text, sizeof(text), "%.*s=%.*s", SPAN_FMT(domain),
		    SPAN_FMT(span_from(local, 4)));
	else
		n = snprintf(text, sizeof(text), "%c%c=%.*s=%.*s", alphabet[day >> 5],
		    alphabet[day & 31], SPAN_FMT(domain), SPAN_FMT(local));
	if (n <= 0 || (size_t)n >= sizeof(text))
		return false;
	hash_of(key, is_again ? '1' : '0', span_of(text), hash);
	n = snprintf(out, SRS_MAX + 1, "SRS%c=%s=%s@%.*s", is_again ? '1' : '0', hash, text,
	    SPAN_FMT(our_domain));
	return n > 0 && n <= SRS_MAX && is_address(out);
}

static int letter(char c)
{
	const char *found = c != '\0' ? strchr(alphabet, ascii_upper(c)) : NULL;

	return found ? (int)(found - alphabet) : -1;
}

static bool is_fresh(struct span day, int64_t now)
{
	int high = day.n == 2 ? letter(day.p[0]) : -1;
	int low = day.n == 2 ? letter(day.p[1]) : -1;
	int64_t age;

	if (high < 0 || low < 0)
		return false;
	age = (now / DAY - (high * 32 + low)) % DAYS_MAX;
	return (age < 0 ? age + DAYS_MAX : age) <= SRS_DAYS;
}

/* "DD=domain=local" */
static int undo_first(struct span text, int64_t now, char out[SRS_MAX + 1])
{
	struct span day, domain;

	if (!span_split(&text, '=', &day) || !span_split(&text, '=', &domain) || !text.p ||
	    !is_fresh(day, now))
		return -1;
	return snprintf(out, SRS_MAX + 1, "%.*s@%.*s", SPAN_FMT(text), SPAN_FMT(domain));
}

/* "domain=TAIL", with TAIL what stood behind SRS0: its separator too */
static int undo_again(struct span text, char out[SRS_MAX + 1])
{
	struct span domain;

	if (!span_split(&text, '=', &domain) || !text.p)
		return -1;
	return snprintf(out, SRS_MAX + 1, "SRS0%.*s@%.*s", SPAN_FMT(text), SPAN_FMT(domain));
}

bool srs_reverse(
    const unsigned char key[SRS_KEY_LEN], struct span local, int64_t now, char out[SRS_MAX + 1])
{
	char want[HASH_LEN + 1], got[HASH_LEN];
	struct span text = span_from(local, 5 + HASH_LEN + 1);
	int n;

	if (!srs_is_one(local) || text.n == 0 || local.p[5 + HASH_LEN] != '=')
		return false;
	for (size_t i = 0; i < HASH_LEN; i++)
		got[i] = ascii_upper(local.p[5 + i]);
	hash_of(key, local.p[3], text, want);
	if (!mem_equal_secret(want, got, HASH_LEN))
		return false;
	n = local.p[3] == '0' ? undo_first(text, now, out) : undo_again(text, out);
	return n > 0 && n <= SRS_MAX && is_address(out);
}
