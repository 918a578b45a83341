#include "common/mail/mta_sts.h"

#include "common/base/mem.h"

#include <string.h>

static const char *const modes[] = {
    [STS_NONE] = "none", [STS_TESTING] = "testing", [STS_ENFORCE] = "enforce"};

const char *sts_mode_name(enum sts_mode m)
{
	return modes[m];
}

static struct span trim(struct span s)
{
	while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
		s = span_from(s, 1);
	while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

/* The next field; an empty name for a line of white space. False at the end. */
static bool next_field(struct span *text, struct span *name, struct span *value, bool *is_field)
{
	struct span line;
	ssize_t colon;

	if (text->n == 0 || !span_split(text, '\n', &line))
		return false;
	if (line.n > 0 && line.p[line.n - 1] == '\r')
		line.n--;
	line = trim(line);
	colon = span_chr(line, ':');
	*is_field = line.n == 0 || colon > 0;
	*name = span_sub(line, 0, colon > 0 ? (size_t)colon : 0);
	*value = colon > 0 ? trim(span_from(line, (size_t)colon + 1)) : span_make("", 0);
	return true;
}

/* Labels of letters, digits, '-' and '_', at most 63 bytes each. */
static bool is_host(struct span s)
{
	struct span label;

	if (s.n == 0 || s.n > 253)
		return false;
	while (span_split(&s, '.', &label)) {
		if (label.n == 0 || label.n > 63)
			return false;
		for (size_t i = 0; i < label.n; i++)
			if (!ascii_is_alnum(label.p[i]) && label.p[i] != '-' && label.p[i] != '_')
				return false;
	}
	return true;
}

static bool is_pattern(struct span s)
{
	return is_host(span_starts(s, SPAN("*.")) ? span_from(s, 2) : s);
}

static bool mode_of(struct span word, enum sts_mode *out)
{
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		if (span_eq(word, span_of(modes[i]))) {
			*out = (enum sts_mode)i;
			return true;
		}
	}
	return false;
}

/* At most ten digits; what is longer than a year is a year. */
static bool age_of(struct span word, uint32_t *out)
{
	uint64_t v;

	if (word.n > 10 || !span_u64(word, UINT64_MAX, &v))
		return false;
	*out = v > STS_AGE_MAX ? STS_AGE_MAX : (uint32_t)v;
	return true;
}

struct seen {
	bool version, mode, age;
};

static int take_field(
    struct sts_policy *p, struct seen *seen, struct span name, struct span value, struct err *err)
{
	if (span_eq(name, SPAN("version")) && !seen->version) {
		seen->version = true;
		if (!span_eq(value, SPAN("STSv1")))
			return err_set(err, ERR_INVALID, "version is not STSv1");
	} else if (span_eq(name, SPAN("mode")) && !seen->mode) {
		seen->mode = true;
		if (!mode_of(value, &p->mode))
			return err_set(err, ERR_INVALID, "mode is none of none, testing, enforce");
	} else if (span_eq(name, SPAN("max_age")) && !seen->age) {
		seen->age = true;
		if (!age_of(value, &p->max_age))
			return err_set(err, ERR_INVALID, "max_age is no number of seconds");
	} else if (span_eq(name, SPAN("mx"))) {
		p->mx_count++;
		if (!is_pattern(value))
			return err_set(err, ERR_INVALID, "an mx is no host name");
	}
	return 0;
}

int sts_policy_parse(struct span text, struct sts_policy *out, struct err *err)
{
	struct seen seen = {0};
	struct span left = text, name, value;
	bool is_field;

	*out = (struct sts_policy){.text = text};
	if (text.n > STS_TEXT_MAX)
		return err_set(err, ERR_LIMIT, "longer than %d bytes", STS_TEXT_MAX);
	if (span_chr(text, '\0') >= 0)
		return err_set(err, ERR_INVALID, "a NUL in it");
	while (next_field(&left, &name, &value, &is_field)) {
		if (!is_field)
			return err_set(err, ERR_INVALID, "a line that is no field");
		if (take_field(out, &seen, name, value, err) < 0)
			return -1;
	}
	if (!seen.version || !seen.mode || !seen.age)
		return err_set(err, ERR_INVALID, "%s is missing",
		    !seen.version ? "version"
		    : !seen.mode  ? "mode"
				  : "max_age");
	if (out->mx_count == 0 && out->mode != STS_NONE)
		return err_set(err, ERR_INVALID, "mx is missing");
	return 0;
}

bool sts_mx_next(struct span *text, struct span *mx)
{
	struct span name;
	bool is_field;

	while (next_field(text, &name, mx, &is_field))
		if (span_eq(name, SPAN("mx")))
			return true;
	return false;
}

static bool fits(struct span pattern, struct span host)
{
	ssize_t dot = span_chr(host, '.');

	if (!span_starts(pattern, SPAN("*.")))
		return span_ieq(pattern, host);
	return dot > 0 && span_ieq(span_from(pattern, 1), span_from(host, (size_t)dot));
}

bool sts_policy_allows(const struct sts_policy *p, struct span host)
{
	struct span left = p->text, mx;

	if (host.n > 0 && host.p[host.n - 1] == '.')
		host.n--;
	while (sts_mx_next(&left, &mx))
		if (fits(mx, host))
			return true;
	return false;
}

void sts_policy_format(const struct sts_policy *p, struct strbuf *out)
{
	struct span left = p->text, mx;

	strbuf_addf(out, "version: STSv1\nmode: %s\n", modes[p->mode]);
	while (sts_mx_next(&left, &mx))
		strbuf_addf(out, "mx: %.*s\n", SPAN_FMT(mx));
	strbuf_addf(out, "max_age: %u\n", p->max_age);
}

/* --- the record ------------------------------------------------------------------------------- */
bool sts_record_is(struct span txt)
{
	struct span word;

	return span_split(&txt, ';', &word) && txt.p && span_eq(trim(word), SPAN("v=STSv1"));
}

static bool is_id(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_is_alnum(s.p[i]))
			return false;
	return s.n > 0 && s.n <= STS_ID_MAX;
}

bool sts_record_id(struct span txt, struct span *id)
{
	struct span word;
	bool has_id = false;

	if (!sts_record_is(txt))
		return false;
	(void)span_split(&txt, ';', &word);
	while (span_split(&txt, ';', &word)) {
		word = trim(word);
		if (!span_starts(word, SPAN("id=")) || has_id)
			continue;
		*id = span_from(word, 3);
		has_id = true;
	}
	return has_id && is_id(*id);
}
