#include "common/store/cache.h"

#include "common/base/codec.h"
#include "common/base/mem.h"
#include "common/mail/bodystructure.h"
#include "common/mail/envelope.h"

#define CACHE_VERSION 3

#define HAS_FIELDS 1u
#define HAS_STRUCTURE 2u

/* What mail programs list messages by; trace, signatures and the like are long and not among them.
 * Another list needs another version. */
static const struct span kept[] = {
    SPAN_INIT("auto-submitted"),
    SPAN_INIT("bcc"),
    SPAN_INIT("cc"),
    SPAN_INIT("chat-version"),
    SPAN_INIT("content-class"),
    SPAN_INIT("content-description"),
    SPAN_INIT("content-disposition"),
    SPAN_INIT("content-id"),
    SPAN_INIT("content-language"),
    SPAN_INIT("content-transfer-encoding"),
    SPAN_INIT("content-type"),
    SPAN_INIT("date"),
    SPAN_INIT("delivered-to"),
    SPAN_INIT("disposition-notification-to"),
    SPAN_INIT("envelope-to"),
    SPAN_INIT("errors-to"),
    SPAN_INIT("followup-to"),
    SPAN_INIT("from"),
    SPAN_INIT("importance"),
    SPAN_INIT("in-reply-to"),
    SPAN_INIT("keywords"),
    SPAN_INIT("lines"),
    SPAN_INIT("list-archive"),
    SPAN_INIT("list-help"),
    SPAN_INIT("list-id"),
    SPAN_INIT("list-owner"),
    SPAN_INIT("list-post"),
    SPAN_INIT("list-subscribe"),
    SPAN_INIT("list-unsubscribe"),
    SPAN_INIT("list-unsubscribe-post"),
    SPAN_INIT("mail-followup-to"),
    SPAN_INIT("mail-reply-to"),
    SPAN_INIT("message-id"),
    SPAN_INIT("mime-version"),
    SPAN_INIT("newsgroups"),
    SPAN_INIT("organization"),
    SPAN_INIT("precedence"),
    SPAN_INIT("priority"),
    SPAN_INIT("references"),
    SPAN_INIT("reply-to"),
    SPAN_INIT("resent-date"),
    SPAN_INIT("resent-from"),
    SPAN_INIT("resent-message-id"),
    SPAN_INIT("resent-to"),
    SPAN_INIT("return-path"),
    SPAN_INIT("sender"),
    SPAN_INIT("sensitivity"),
    SPAN_INIT("status"),
    SPAN_INIT("subject"),
    SPAN_INIT("to"),
    SPAN_INIT("user-agent"),
    SPAN_INIT("x-forwarded-message-id"),
    SPAN_INIT("x-k9mail-identity"),
    SPAN_INIT("x-keywords"),
    SPAN_INIT("x-label"),
    SPAN_INIT("x-mailer"),
    SPAN_INIT("x-msmail-priority"),
    SPAN_INIT("x-original-to"),
    SPAN_INIT("x-priority"),
    SPAN_INIT("x-spam-flag"),
    SPAN_INIT("x-spam-level"),
    SPAN_INIT("x-spam-score"),
    SPAN_INIT("x-status"),
    SPAN_INIT("x-uniform-type-identifier"),
    SPAN_INIT("x-universally-unique-identifier"),
};

static void encode_envelope(struct strbuf *part, const struct mime_tree *tree, struct span header)
{
	if (tree->count && tree->parts[0].envelope.p)
		strbuf_add(part, tree->parts[0].envelope);
	else
		mail_envelope_write(part, header);
}

static bool encode_fields(struct strbuf *part, const struct mime_tree *tree, struct span header)
{
	if (!tree->count || header.n < tree->parts[0].header_size)
		return false;
	header = span_sub(header, 0, (size_t)tree->parts[0].header_size);
	return mail_header_select(part, header, kept, ARRAY_LEN(kept), true);
}

void cache_encode(struct strbuf *out, const struct mime_tree *tree, struct span header)
{
	struct strbuf envelope, row, fields, structure;
	unsigned has = 0;

	strbuf_init(&envelope, (size_t)4 * 1024 * 1024);
	strbuf_init(&row, (size_t)4 * 1024 * 1024);
	strbuf_init(&fields, CACHE_FIELDS_MAX);
	strbuf_init(&structure, CACHE_STRUCTURE_MAX);
	encode_envelope(&envelope, tree, header);
	if (!mime_tree_encode(&row, tree))
		out->failed = true;
	if (encode_fields(&fields, tree, header))
		has |= HAS_FIELDS;
	else
		strbuf_reset(&fields);
	if (mail_bodystructure_write(&structure, tree, true))
		has |= HAS_STRUCTURE;
	else
		strbuf_reset(&structure);
	enc_u8(out, CACHE_VERSION);
	enc_u8(out, (uint8_t)has);
	enc_varint(out, tree->count ? tree->parts[0].header_size : 0);
	/* The lengths first: who wants one piece touches no other. */
	enc_varint(out, envelope.n);
	enc_varint(out, fields.n);
	enc_varint(out, structure.n);
	enc_varint(out, row.n);
	strbuf_add(out, strbuf_span(&envelope));
	strbuf_add(out, strbuf_span(&fields));
	strbuf_add(out, strbuf_span(&structure));
	strbuf_add(out, strbuf_span(&row));
	strbuf_clear(&envelope);
	strbuf_clear(&row);
	strbuf_clear(&fields);
	strbuf_clear(&structure);
}

bool cache_decode(struct span row, struct cache *c)
{
	struct dec d = dec_of(row);
	uint64_t envelope, fields, structure, tree;
	unsigned has;

	*c = (struct cache){0};
	if (dec_u8(&d) != CACHE_VERSION)
		return false;
	has = dec_u8(&d);
	c->header_size = dec_varint(&d);
	envelope = dec_varint(&d);
	fields = dec_varint(&d);
	structure = dec_varint(&d);
	tree = dec_varint(&d);
	/* None is longer than what is left, so that their sum cannot overflow. */
	if (!dec_ok(&d) || envelope > d.in.n || fields > d.in.n || structure > d.in.n ||
	    tree > d.in.n || envelope + fields + structure + tree != d.in.n || tree == 0 ||
	    has > (HAS_FIELDS | HAS_STRUCTURE))
		return false;
	c->envelope = dec_raw(&d, (size_t)envelope);
	c->fields = dec_raw(&d, (size_t)fields);
	c->structure = dec_raw(&d, (size_t)structure);
	c->tree = dec_raw(&d, (size_t)tree);
	if (!(has & HAS_FIELDS))
		c->fields.p = NULL;
	if (!(has & HAS_STRUCTURE))
		c->structure.p = NULL;
	return true;
}

static bool is_kept(struct span name)
{
	for (size_t i = 0; i < ARRAY_LEN(kept); i++)
		if (span_ieq(name, kept[i]))
			return true;
	return false;
}

bool cache_keeps(const struct span *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!is_kept(names[i]))
			return false;
	return true;
}
