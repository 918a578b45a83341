#include "common/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A cut must not leave half a UTF-8 character. */
static void trim_partial(char *text)
{
	size_t n = strlen(text);
	size_t back = 0;

	while (back < 3 && back < n && ((unsigned char)text[n - 1 - back] & 0xc0) == 0x80)
		back++;
	if (back < n && (unsigned char)text[n - 1 - back] >= 0xc0) {
		unsigned char lead = (unsigned char)text[n - 1 - back];
		size_t want = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;

		if (back < want)
			text[n - 1 - back] = '\0';
	}
}

__attribute__((format(printf, 2, 0))) static void format(struct err *e, const char *fmt, va_list ap)
{
	int n = vsnprintf(e->text, sizeof(e->text), fmt, ap);

	if (n < 0)
		e->text[0] = '\0';
	else if ((size_t)n >= sizeof(e->text))
		trim_partial(e->text);
}

int err_set(struct err *e, enum err_code code, const char *fmt, ...)
{
	va_list ap;

	if (!e)
		return -1;
	e->code = code;
	va_start(ap, fmt);
	format(e, fmt, ap);
	va_end(ap);
	return -1;
}

static enum err_code code_of_errno(int errnum)
{
	switch (errnum) {
	case ENOSPC:
	case EDQUOT:
	case ENFILE:
	case EMFILE:
	case ENOMEM:
		return ERR_NO_SPACE;
	case ENOENT:
		return ERR_NOT_FOUND;
	case EEXIST:
		return ERR_EXISTS;
	case EACCES:
	case EPERM:
		return ERR_DENIED;
	case EAGAIN:
	case ETIMEDOUT:
		return ERR_TIMEOUT;
	case EPIPE:
	case ECONNRESET:
		return ERR_CLOSED;
	default:
		return ERR_IO;
	}
}

int err_errno(struct err *e, int errnum, const char *fmt, ...)
{
	char context[sizeof(e->text)];
	char reason[96];
	va_list ap;

	if (!e)
		return -1;
	va_start(ap, fmt);
	if (vsnprintf(context, sizeof(context), fmt, ap) < 0)
		context[0] = '\0';
	va_end(ap);
	return err_set(e, code_of_errno(errnum), "%s: %s", context,
	    strerror_r(errnum, reason, sizeof(reason)));
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	char context[sizeof(e->text)];
	char old[sizeof(e->text)];
	va_list ap;

	if (!e)
		return -1;
	va_start(ap, fmt);
	if (vsnprintf(context, sizeof(context), fmt, ap) < 0)
		context[0] = '\0';
	va_end(ap);
	memcpy(old, e->text, sizeof(old));
	return err_set(e, e->code, "%s: %s", context, old);
}

const char *err_code_name(enum err_code code)
{
	static const char *const names[] = {
	    [ERR_NONE] = "none",
	    [ERR_INVALID] = "invalid",
	    [ERR_NOT_FOUND] = "not-found",
	    [ERR_EXISTS] = "exists",
	    [ERR_DENIED] = "denied",
	    [ERR_LIMIT] = "limit",
	    [ERR_QUOTA] = "quota",
	    [ERR_NO_SPACE] = "no-space",
	    [ERR_IO] = "io",
	    [ERR_CORRUPT] = "corrupt",
	    [ERR_TEMP] = "temporary",
	    [ERR_BUSY] = "busy",
	    [ERR_TIMEOUT] = "timeout",
	    [ERR_CLOSED] = "closed",
	    [ERR_UNSUPPORTED] = "unsupported",
	};

	if ((size_t)code >= sizeof(names) / sizeof(names[0]))
		return "unknown";
	return names[code];
}
