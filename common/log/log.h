/*
 * One line per event: time, level, program[pid], event word, key=value fields. One encoder escapes
 * every byte below 0x20, 0x7f, '"' and '\' and invalid UTF-8, so nothing a peer sends can forge a
 * line or a field. Values longer than 512 bytes are cut and marked. Secrets are never passed here.
 * Thread-safe: one write(2) a line. Times are UTC with microseconds.
 *
 *     log_info("smtp-mail", LOG_STR("session", id), LOG_SPAN("from", from), LOG_U64("size", n));
 */
#ifndef MS_LOG_LOG_H
#define MS_LOG_LOG_H

#include "common/base/err.h"
#include "common/base/span.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

enum log_type { LOG_T_END, LOG_T_STR, LOG_T_SPAN, LOG_T_U64, LOG_T_I64, LOG_T_ERR };

struct log_field {
	const char *key;
	enum log_type type;
	union {
		const char *str;
		struct span span;
		uint64_t u64;
		int64_t i64;
		const struct err *err;
	} v;
};

#define LOG_STR(k, x) ((struct log_field){.key = (k), .type = LOG_T_STR, .v.str = (x)})
#define LOG_SPAN(k, x) ((struct log_field){.key = (k), .type = LOG_T_SPAN, .v.span = (x)})
#define LOG_U64(k, x) ((struct log_field){.key = (k), .type = LOG_T_U64, .v.u64 = (x)})
#define LOG_I64(k, x) ((struct log_field){.key = (k), .type = LOG_T_I64, .v.i64 = (x)})
/* error=<code name> reason="text" */
#define LOG_ERR(e) ((struct log_field){.key = "error", .type = LOG_T_ERR, .v.err = (e)})

void log_open(const char *program, int fd); /* fd is borrowed; before it, stderr */
void log_set_level(enum log_level level);
bool log_level_parse(struct span word, enum log_level *out);
bool log_is_enabled(enum log_level level);

void log_write(enum log_level level, const char *event, const struct log_field *fields);

#ifdef __cppcheck__ /* knows no __VA_OPT__ */
#define LOG_AT(level, event, ...) log_write((level), (event), NULL)
#else
#define LOG_AT(level, event, ...)                                                                  \
	do {                                                                                       \
		if (log_is_enabled(level))                                                         \
			log_write((level), (event),                                                \
			    (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){0}});            \
	} while (0)
#endif
#define log_debug(...) LOG_AT(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) LOG_AT(LOG_INFO, __VA_ARGS__)
#define log_warning(...) LOG_AT(LOG_WARNING, __VA_ARGS__)
#define log_error(...) LOG_AT(LOG_ERROR, __VA_ARGS__)

#endif
