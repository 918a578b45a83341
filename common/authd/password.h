/*
 * Passwords: argon2id in PHC strings "$argon2id$v=19$m=...,t=...,p=...$salt$hash". password_make
 * and password_verify take tens of milliseconds and the memory of the parameters: worker threads
 * only. The only includer of argon2.h.
 */
#ifndef MS_AUTHD_PASSWORD_H
#define MS_AUTHD_PASSWORD_H

#include "common/base/err.h"
#include "common/base/strbuf.h"

#define PHC_MAX 255
#define PASSWORD_MIN 8
#define PASSWORD_MAX 1024

struct hash_params {
	uint32_t memory_kib, passes, lanes;
};

struct phc {
	struct hash_params params;
	unsigned char salt[64], hash[64];
	size_t salt_n, hash_n;
};

/* Total: anything but a canonical argon2id string within sane bounds (at most 1 GiB, 16 passes, 4
 * lanes) is ERR_CORRUPT. */
int phc_parse(struct phc *out, struct span text, struct err *err);
bool phc_format(const struct phc *p, struct strbuf *out);
bool phc_has_params(const struct phc *p, const struct hash_params *params);

/* ERR_NO_SPACE when memory is short. out is NUL-terminated. */
int password_make(
    const struct hash_params *params, struct span password, char out[PHC_MAX + 1], struct err *err);
/* 1 right, 0 wrong, -1 with err. The comparison takes constant time. */
int password_verify(struct span phc, struct span password, struct err *err);

/* Whether a new password may be used: 8 to 1,024 bytes of UTF-8 without control characters. */
int password_check_new(struct span password, struct err *err);
/* A PHC string of a random password: what an unknown user is verified against. */
void password_dummy(const struct hash_params *params, char out[PHC_MAX + 1]);

#endif
