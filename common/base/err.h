/*
 * Errors as values. A function that can fail returns 0 or -1 and fills a struct err with a code
 * (what a caller decides on) and a text (what a person reads). No allocation, no ownership; any
 * thread. A struct err may be NULL wherever a caller does not care.
 */
#ifndef MS_BASE_ERR_H
#define MS_BASE_ERR_H

enum err_code {
	ERR_NONE = 0,
	ERR_INVALID,     /* syntax or value the caller sent is wrong: 5xx, BAD */
	ERR_NOT_FOUND,   /* no such account, mailbox, message, name */
	ERR_EXISTS,      /* already there */
	ERR_DENIED,      /* not allowed */
	ERR_LIMIT,       /* a configured limit is reached */
	ERR_QUOTA,       /* the account's quota is reached */
	ERR_NO_SPACE,    /* disk, map or inodes exhausted: 452, NO [UNAVAILABLE], -ERR [SYS/TEMP] */
	ERR_IO,          /* the system failed: same replies as ERR_NO_SPACE */
	ERR_CORRUPT,     /* stored data failed its checksum or its own rules */
	ERR_TEMP,        /* try later (peer gone, queue full) */
	ERR_BUSY,        /* held by another session */
	ERR_TIMEOUT,     /* a deadline passed */
	ERR_CLOSED,      /* the other side went away */
	ERR_UNSUPPORTED, /* known, but not offered here */
};

struct err {
	enum err_code code;
	char text[240];
};

#define ERR_INIT                                                                                   \
	{                                                                                          \
		0                                                                                  \
	}

/* Sets code and text (truncated at a character boundary). Always returns -1. e may be NULL. */
int err_set(struct err *e, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * As err_set, with ": " and the system's text for errnum appended. The code follows errnum:
 * ENOSPC, EDQUOT, ENFILE, EMFILE, ENOMEM are ERR_NO_SPACE, ENOENT ERR_NOT_FOUND, EEXIST ERR_EXISTS,
 * EACCES and EPERM ERR_DENIED, EAGAIN and ETIMEDOUT ERR_TIMEOUT, EPIPE and ECONNRESET ERR_CLOSED,
 * everything else ERR_IO. Always returns -1.
 */
int err_errno(struct err *e, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "context: " before the text, keeps the code. Always returns -1. */
int err_wrap(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A stable lower-case word for a code, for logs and JSON: "not-found", "no-space". */
const char *err_code_name(enum err_code code);

#endif
