#include "common/config/config_int.h"

#include "common/base/mem.h"
#include "common/base/utf8.h"

#include <arpa/inet.h>
#include <stdio.h>

/* Settings whose words are few. */
static const struct {
	const char *name;
	const char *choices; /* separated by one space */
} choices[] = {
    {"log.level", "debug info warning error"},
    {"outbound.tls", "opportunistic required verified none"},
    {"role", "smtp submission imap pop3 lmtp device"},
    {"tls", "none offered required implicit"},
    {"tls_min", "1.0 1.1 1.2 1.3"},
    {"client_certificate", "no ask"},
    {"outbound.ipv6", "auto on off"},
};

static int unexpected(struct err *err, struct span found, const char *expected)
{
	return err_set(err, ERR_INVALID, "found \"%.*s\", expected %s",
	    found.n < 60 ? (int)found.n : 60, found.p, expected);
}

static int parse_bool(struct span s, uint64_t *out, struct err *err)
{
	static const char *const yes[] = {"yes", "true", "on", "1"};
	static const char *const no[] = {"no", "false", "off", "0"};

	for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
		if (span_ieq(s, span_of(yes[i])) || span_ieq(s, span_of(no[i]))) {
			*out = span_ieq(s, span_of(yes[i]));
			return 0;
		}
	}
	return unexpected(err, s, "yes or no");
}

/* The factor of a suffix letter, or 0. */
static uint64_t factor_of(enum value_type type, char c)
{
	static const char sizes[] = "kmgt";
	uint64_t factor = 1;

	c = ascii_lower(c);
	if (type == T_SECONDS)
		return c == 's' ? 1 : c == 'm' ? 60 : c == 'h' ? 3600 : c == 'd' ? 86400 : 0;
	for (size_t i = 0; type == T_SIZE && sizes[i]; i++) {
		factor *= 1024;
		if (c == sizes[i])
			return factor;
	}
	return 0;
}

static int parse_number(const struct setting_def *d, struct span s, uint64_t *out, struct err *err)
{
	struct span rest = s;
	uint64_t v = 0;
	bool is_good = span_take_u64(&rest, UINT64_MAX, &v);
	struct strbuf b;
	int result;

	if (is_good && rest.n == 1) {
		uint64_t factor = factor_of(d->type, rest.p[0]);

		is_good = factor > 0 && !__builtin_mul_overflow(v, factor, &v);
	} else if (rest.n > 0) {
		is_good = false;
	}
	if (is_good && v >= d->min && v <= d->max) {
		*out = v;
		return 0;
	}
	strbuf_init(&b, 160);
	strbuf_addf(&b, "a number%s from %llu to %llu",
	    d->type == T_SIZE      ? " (with K, M, G or T)"
	    : d->type == T_SECONDS ? " (with s, m, h or d)"
				   : "",
	    (unsigned long long)d->min, (unsigned long long)d->max);
	result = unexpected(err, s, b.p);
	strbuf_clear(&b);
	return result;
}

static bool is_host(struct span s)
{
	struct span label;

	if (s.n == 0 || s.n > 253)
		return false;
	while (span_split(&s, '.', &label)) {
		if (label.n == 0 || label.n > 63 || label.p[0] == '-' ||
		    label.p[label.n - 1] == '-')
			return false;
		for (size_t i = 0; i < label.n; i++)
			if (!ascii_is_alnum(label.p[i]) && label.p[i] != '-')
				return false;
	}
	return true;
}

static bool is_word(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_is_alnum(s.p[i]) && s.p[i] != '-' && s.p[i] != '_')
			return false;
	return s.n > 0;
}

bool config_list_next(struct span *list, struct span *word)
{
	size_t n = 0;

	while (list->n > 0 && (list->p[0] == ',' || list->p[0] == ' '))
		*list = span_from(*list, 1);
	while (n < list->n && list->p[n] != ',' && list->p[n] != ' ')
		n++;
	*word = span_sub(*list, 0, n);
	*list = span_from(*list, n);
	return n > 0;
}

static bool is_list(struct span s)
{
	struct span word;
	size_t count = 0;

	while (config_list_next(&s, &word)) {
		if (!is_word(word))
			return false;
		count++;
	}
	return count > 0;
}

bool config_seconds(struct span text, uint64_t *seconds)
{
	static const struct setting_def time = {.name = "", .type = T_SECONDS, .max = UINT32_MAX};

	return parse_number(&time, text, seconds, NULL) == 0;
}

static bool is_times(struct span s)
{
	struct span word;
	uint64_t seconds = 0;
	size_t count = 0;

	while (config_list_next(&s, &word)) {
		if (!config_seconds(word, &seconds) || seconds == 0)
			return false;
		count++;
	}
	return count > 0 && count <= CONFIG_TIMES_MAX;
}

static bool is_one_of(struct span s, struct span words)
{
	struct span word;

	while (span_split(&words, ' ', &word))
		if (span_eq(s, word))
			return true;
	return false;
}

static bool is_tls_rules(struct span s)
{
	struct span word;

	while (config_list_next(&s, &word)) {
		ssize_t at = span_chr(word, '=');
		struct span domain = at < 0 ? word : span_sub(word, 0, (size_t)at);

		if (domain.n > 0 && domain.p[0] == '.')
			domain = span_from(domain, 1);
		if (at < 0 || domain.n == 0 || !is_host(domain) ||
		    !is_one_of(span_from(word, (size_t)at + 1),
			SPAN("none opportunistic required verified dane")))
			return false;
	}
	return true;
}

static int bad_length(const struct setting_def *d, struct span s, struct err *err)
{
	char expected[80];

	snprintf(expected, sizeof(expected), "%llu to %llu bytes, not %zu",
	    (unsigned long long)d->min, (unsigned long long)d->max, s.n);
	return unexpected(err, s, expected);
}

/* An IPv4 or IPv6 address: the bits of its family, else 0. */
static unsigned address_bits(struct span s)
{
	unsigned char ip[16];
	char text[65];

	if (s.n >= sizeof(text))
		return 0;
	snprintf(text, sizeof(text), "%.*s", SPAN_FMT(s));
	if (inet_pton(AF_INET, text, ip) == 1)
		return 32;
	return inet_pton(AF_INET6, text, ip) == 1 ? 128 : 0;
}

static bool is_nets(struct span s)
{
	struct span word;

	while (config_list_next(&s, &word)) {
		ssize_t slash = span_chr(word, '/');
		unsigned most = address_bits(slash < 0 ? word : span_sub(word, 0, (size_t)slash));
		uint64_t bits;

		if (most == 0 ||
		    (slash >= 0 && !span_u64(span_from(word, (size_t)slash + 1), most, &bits)))
			return false;
	}
	return true;
}

/* "*", an address that a socket can be bound to, or the path of a unix socket. */
static bool is_address(struct span s)
{
	return span_eq(s, SPAN("*")) || (s.p[0] == '/' && s.n > 1) || address_bits(s) > 0;
}

static int parse_text(const struct setting_def *d, struct span s, struct err *err)
{
	if (s.n < d->min || s.n > d->max)
		return bad_length(d, s, err);
	for (size_t i = 0; i < s.n; i++)
		if (ascii_is_ctl(s.p[i]))
			return unexpected(err, s, "no control characters");
	if (!utf8_is_valid(s))
		return unexpected(err, SPAN("..."), "valid UTF-8");
	if (d->type == T_PATH && s.n > 0 && s.p[0] != '/')
		return unexpected(err, s, "an absolute path");
	if (d->type == T_HOST && !is_host(s))
		return unexpected(err, s, "a host name");
	/* Two keys of listeners; nothing else has these names. */
	if (span_eq(span_of(d->name), SPAN("address")) && !is_address(s))
		return unexpected(err, s, "an IPv4 or IPv6 address, *, or a path");
	if (span_eq(span_of(d->name), SPAN("hostname")) && s.n > 0 && !is_host(s))
		return unexpected(err, s, "a host name");
	if (d->type == T_WORD && !is_word(s))
		return unexpected(err, s, "letters, digits, '-' and '_'");
	if (d->type == T_LIST && !is_list(s))
		return unexpected(err, s, "words of letters, digits, '-' and '_' between commas");
	if (d->type == T_TIMES && !is_times(s))
		return unexpected(err, s, "times (with s, m, h or d) between commas");
	if (d->type == T_NETS && !is_nets(s))
		return unexpected(err, s, "addresses and networks between commas");
	if (span_eq(span_of(d->name), SPAN("outbound.tls_rules")) && !is_tls_rules(s))
		return unexpected(err, s,
		    "DOMAIN=none, opportunistic, required, verified or dane, between commas");
	for (size_t i = 0; i < ARRAY_LEN(choices); i++)
		if (span_eq(span_of(d->name), span_of(choices[i].name)) &&
		    !is_one_of(s, span_of(choices[i].choices)))
			return unexpected(err, s, choices[i].choices);
	return 0;
}

int config_value_parse(
    const struct setting_def *d, struct span text, uint64_t *number, struct err *err)
{
	*number = 0;
	if (d->type == T_BOOL)
		return parse_bool(text, number, err);
	if (d->type == T_NUMBER || d->type == T_SIZE || d->type == T_SECONDS)
		return parse_number(d, text, number, err);
	return parse_text(d, text, err);
}

const char *config_type_name(enum value_type t)
{
	static const char *const names[] = {
	    [T_BOOL] = "yes or no",
	    [T_NUMBER] = "number",
	    [T_SIZE] = "size",
	    [T_SECONDS] = "time",
	    [T_TEXT] = "text",
	    [T_PATH] = "path",
	    [T_HOST] = "host name",
	    [T_WORD] = "word",
	    [T_LIST] = "words",
	    [T_TIMES] = "times",
	    [T_NETS] = "networks",
	};

	return names[t];
}
