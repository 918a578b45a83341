#include "common/store/cache.h"

#include "common/base/codec.h"
#include "common/mail/envelope.h"

#define CACHE_VERSION 1

void cache_encode(struct strbuf *out, const struct mime_tree *tree, struct span header)
{
	struct strbuf part;

	strbuf_init(&part, (size_t)4 * 1024 * 1024);
	enc_u8(out, CACHE_VERSION);
	enc_varint(out, tree->count ? tree->parts[0].header_size : 0);
	if (tree->count && tree->parts[0].envelope.p)
		strbuf_add(&part, tree->parts[0].envelope);
	else
		mail_envelope_write(&part, header);
	enc_bytes(out, strbuf_span(&part));
	strbuf_reset(&part);
	if (!mime_tree_encode(&part, tree))
		out->failed = true;
	enc_bytes(out, strbuf_span(&part));
	strbuf_clear(&part);
}

bool cache_decode(struct span row, struct cache *c)
{
	struct dec d = dec_of(row);

	*c = (struct cache){0};
	if (dec_u8(&d) != CACHE_VERSION)
		return false;
	c->header_size = dec_varint(&d);
	c->envelope = dec_bytes(&d);
	c->tree = dec_bytes(&d);
	return dec_done(&d) && c->tree.n > 0;
}
