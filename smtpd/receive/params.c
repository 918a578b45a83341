/* What may stand behind the paths of MAIL and RCPT (RFC 5321 section 4.1.2). */
#include "smtpd/receive/receive.h"

#include "common/base/mem.h"

#define ENVID_MAX 100 /* RFC 3461 section 4.4, decoded */
#define ORCPT_MAX 500 /* section 4.2 */

struct param_def {
	struct span key;
	enum { NO_VALUE, HAS_VALUE } value;
	/* False after a reply. */
	bool (*take)(struct session *s, struct span value);
};

static bool bad(struct session *s, const char *text)
{
	reply_error(s, 501, "5.5.4", "%s", text);
	return false;
}

static bool take_size(struct session *s, struct span value)
{
	uint64_t size;

	if (!span_u64(value, UINT64_MAX, &size))
		return bad(s, "SIZE needs a number");
	if (size <= config_u64(s->cfg, SET_SMTP_MESSAGE_MAX))
		return true;
	reply_error(s, 552, "5.3.4", "Message larger than the limit of %llu bytes",
	    (unsigned long long)config_u64(s->cfg, SET_SMTP_MESSAGE_MAX));
	return false;
}

static bool take_body(struct session *s, struct span value)
{
	s->t.is_8bit = span_ieq(value, SPAN("8BITMIME"));
	return s->t.is_8bit || span_ieq(value, SPAN("7BIT")) || bad(s, "BODY is 7BIT or 8BITMIME");
}

/* It was looked for before the path was read. */
static bool take_utf8(struct session *s, struct span value)
{
	return true;
}

/* RFC 4954 section 5: taken from anybody who could log in, believed from nobody. */
static bool take_auth(struct session *s, struct span value)
{
	if (s->listener->cfg->auth)
		return true;
	reply_error(s, 555, "5.5.4", "Parameter not supported");
	return false;
}

static bool take_ret(struct session *s, struct span value)
{
	s->t.ret = span_ieq(value, SPAN("FULL"))   ? QUEUE_RET_FULL
		   : span_ieq(value, SPAN("HDRS")) ? QUEUE_RET_HEADERS
						   : QUEUE_RET_NONE;
	return s->t.ret != QUEUE_RET_NONE || bad(s, "RET is FULL or HDRS");
}

/* xtext of at most max bytes, kept as it came. */
static bool keep_xtext(struct session *s, struct span value, size_t max, struct span *out)
{
	struct strbuf raw;
	bool is_good;

	strbuf_init(&raw, max);
	is_good = mail_xtext_decode(&raw, value) && arena_copy(&s->t.arena, value, out);
	strbuf_clear(&raw);
	return is_good;
}

static bool take_envid(struct session *s, struct span value)
{
	return keep_xtext(s, value, ENVID_MAX, &s->t.envid) || bad(s, "ENVID is malformed");
}

/* RFC 8689 section 2: only who came through TLS may ask for it. */
static bool take_requiretls(struct session *s, struct span value)
{
	s->t.is_requiretls = conn_is_tls(s->conn);
	if (s->t.is_requiretls)
		return true;
	reply_error(s, 530, "5.7.10", "REQUIRETLS needs TLS");
	return false;
}

static bool take_notify(struct session *s, struct span value)
{
	static const struct {
		struct span word;
		unsigned bit;
	} words[] = {
	    {SPAN_INIT("NEVER"), QUEUE_NOTIFY_NEVER},
	    {SPAN_INIT("SUCCESS"), QUEUE_NOTIFY_SUCCESS},
	    {SPAN_INIT("FAILURE"), QUEUE_NOTIFY_FAILURE},
	    {SPAN_INIT("DELAY"), QUEUE_NOTIFY_DELAY},
	};
	unsigned bits = 0;
	struct span word;

	while (span_split(&value, ',', &word)) {
		unsigned bit = 0;

		for (size_t i = 0; i < ARRAY_LEN(words); i++)
			if (span_ieq(word, words[i].word))
				bit = words[i].bit;
		if (bit == 0 || (bits & bit))
			return bad(s, "NOTIFY is malformed");
		bits |= bit;
	}
	if ((bits & QUEUE_NOTIFY_NEVER) && bits != QUEUE_NOTIFY_NEVER)
		return bad(s, "NOTIFY=NEVER stands alone");
	s->t.notify = (uint8_t)bits;
	return true;
}

/* "rfc822;alice@example.test": the type is an atom. */
static bool take_orcpt(struct session *s, struct span value)
{
	ssize_t semicolon = span_chr(value, ';');

	if (semicolon <= 0 || value.n > ORCPT_MAX)
		return bad(s, "ORCPT is malformed");
	for (ssize_t i = 0; i < semicolon; i++)
		if (!ascii_is_alnum(value.p[i]) && value.p[i] != '-')
			return bad(s, "ORCPT is malformed");
	if (!keep_xtext(s, span_from(value, (size_t)semicolon + 1), ORCPT_MAX, &s->t.orcpt) ||
	    !arena_copy(&s->t.arena, value, &s->t.orcpt))
		return bad(s, "ORCPT is malformed");
	return true;
}

static const struct param_def mail_defs[] = {
    {SPAN_INIT("SIZE"), HAS_VALUE, take_size},
    {SPAN_INIT("BODY"), HAS_VALUE, take_body},
    {SPAN_INIT("SMTPUTF8"), NO_VALUE, take_utf8},
    {SPAN_INIT("AUTH"), HAS_VALUE, take_auth},
    {SPAN_INIT("RET"), HAS_VALUE, take_ret},
    {SPAN_INIT("ENVID"), HAS_VALUE, take_envid},
    {SPAN_INIT("REQUIRETLS"), NO_VALUE, take_requiretls},
};

static const struct param_def rcpt_defs[] = {
    {SPAN_INIT("NOTIFY"), HAS_VALUE, take_notify},
    {SPAN_INIT("ORCPT"), HAS_VALUE, take_orcpt},
};

static bool take_one(struct session *s, const struct param_def *defs, size_t count,
    const struct mail_param *p, unsigned *seen)
{
	for (size_t i = 0; i < count; i++) {
		if (!span_ieq(p->key, defs[i].key))
			continue;
		if (*seen & 1u << i)
			return bad(s, "A parameter stands there twice");
		*seen |= 1u << i;
		if ((defs[i].value == NO_VALUE) == (p->value.p != NULL))
			return bad(s, "A parameter's value is missing or too much");
		return defs[i].take(s, p->value);
	}
	reply_error(s, 555, "5.5.4", "Parameter not supported");
	return false;
}

static bool take_all(
    struct session *s, const struct param_def *defs, size_t count, struct span rest)
{
	struct mail_param p;
	struct err err = ERR_INIT;
	unsigned seen = 0;
	int got;

	while ((got = mail_param_next(&rest, &p, &err)) == 1)
		if (!take_one(s, defs, count, &p, &seen))
			return false;
	return got == 0 || bad(s, "Bad parameter syntax");
}

bool params_mail(struct session *s, struct span rest)
{
	return take_all(s, mail_defs, ARRAY_LEN(mail_defs), rest);
}

bool params_rcpt(struct session *s, struct span rest)
{
	s->t.notify = 0;
	s->t.orcpt = span_make("", 0);
	return take_all(s, rcpt_defs, ARRAY_LEN(rcpt_defs), rest);
}
