/*
 * Binary records, big-endian: what database rows and ipc frames are made of. The encoder writes
 * into a strbuf (whose limit and failed flag apply). The decoder reads a span and is total: after
 * the first missing byte it sets .bad and every further read gives 0 or an empty span, so a caller
 * reads everything and checks dec_ok once. Byte strings are u32 length + bytes; a decoded span
 * points into the input. Varints are LEB128 of at most 10 bytes, non-canonical forms are bad.
 */
#ifndef MS_BASE_CODEC_H
#define MS_BASE_CODEC_H

#include "common/base/span.h"
#include "common/base/strbuf.h"

void enc_u8(struct strbuf *b, uint8_t v);
void enc_u16(struct strbuf *b, uint16_t v);
void enc_u32(struct strbuf *b, uint32_t v);
void enc_u64(struct strbuf *b, uint64_t v);
void enc_varint(struct strbuf *b, uint64_t v);
void enc_bytes(struct strbuf *b, struct span s);
void enc_str(struct strbuf *b, const char *s); /* NULL is empty */

struct dec {
	struct span in;
	bool bad;
};

struct dec dec_of(struct span in);
uint8_t dec_u8(struct dec *d);
uint16_t dec_u16(struct dec *d);
uint32_t dec_u32(struct dec *d);
uint64_t dec_u64(struct dec *d);
uint64_t dec_varint(struct dec *d);
struct span dec_bytes(struct dec *d);
struct span dec_raw(struct dec *d, size_t n);
/* Copies a byte string into a NUL-terminated buffer; too long or holding a NUL is bad. */
void dec_cstr(struct dec *d, char *buf, size_t cap);
bool dec_ok(const struct dec *d);   /* nothing missing so far */
bool dec_done(const struct dec *d); /* nothing missing and nothing left */

void be_put16(void *p, uint16_t v);
void be_put32(void *p, uint32_t v);
void be_put64(void *p, uint64_t v);
uint16_t be_get16(const void *p);
uint32_t be_get32(const void *p);
uint64_t be_get64(const void *p);

#endif
