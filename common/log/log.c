#include "common/log/log.h"

#include "common/base/strbuf.h"
#include "common/base/utf8.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define VALUE_MAX 512
#define LINE_MAX_BYTES 8192

static int log_fd = 2;
static char log_program[32] = "mailstead";
static int log_pid;
static _Atomic int log_level = LOG_INFO;

static const char *const level_names[] = {"debug", "info", "warning", "error"};

void log_open(const char *program, int fd)
{
	snprintf(log_program, sizeof(log_program), "%s", program);
	log_pid = (int)getpid();
	log_fd = fd;
}

void log_set_level(enum log_level level)
{
	atomic_store(&log_level, (int)level);
}

bool log_is_enabled(enum log_level level)
{
	return (int)level >= atomic_load(&log_level);
}

bool log_level_parse(struct span word, enum log_level *out)
{
	for (size_t i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
		if (span_eq(word, span_of(level_names[i]))) {
			*out = (enum log_level)i;
			return true;
		}
	}
	return false;
}

static bool is_bare(struct span s)
{
	static const struct span marks = SPAN_INIT("-_.:@/+<>[]*,");

	for (size_t i = 0; i < s.n; i++)
		if (!ascii_is_alnum(s.p[i]) && span_chr(marks, s.p[i]) < 0)
			return false;
	return s.n > 0;
}

/* The one encoder of values: quoted unless it is a plain word, control and broken bytes as \xNN. */
static void add_value(struct strbuf *b, struct span s)
{
	bool is_cut = s.n > VALUE_MAX;

	s = span_sub(s, 0, VALUE_MAX);
	if (!is_cut && is_bare(s)) {
		strbuf_add(b, s);
		return;
	}
	strbuf_add_chr(b, '"');
	while (s.n > 0) {
		struct span before = s;
		uint32_t cp;
		bool is_valid = utf8_take(&s, &cp);

		if (!is_valid || cp < 0x20 || (cp >= 0x7f && cp < 0xa0))
			for (size_t i = 0; i < before.n - s.n; i++)
				strbuf_addf(b, "\\x%02x", (unsigned char)before.p[i]);
		else if (cp == '"' || cp == '\\')
			strbuf_addf(b, "\\%c", (char)cp);
		else
			strbuf_add(b, span_sub(before, 0, before.n - s.n));
	}
	strbuf_add_str(b, is_cut ? "\"..." : "\"");
}

static void add_field(struct strbuf *b, const struct log_field *f)
{
	strbuf_add_chr(b, ' ');
	strbuf_add_str(b, f->key);
	strbuf_add_chr(b, '=');
	switch (f->type) {
	case LOG_T_STR:
		add_value(b, span_of(f->v.str));
		break;
	case LOG_T_SPAN:
		add_value(b, f->v.span);
		break;
	case LOG_T_U64:
		strbuf_add_u64(b, f->v.u64);
		break;
	case LOG_T_I64:
		strbuf_addf(b, "%lld", (long long)f->v.i64);
		break;
	case LOG_T_ERR:
		strbuf_add_str(b, err_code_name(f->v.err ? f->v.err->code : ERR_NONE));
		strbuf_add_str(b, " reason=");
		add_value(b, span_of(f->v.err ? f->v.err->text : ""));
		break;
	case LOG_T_END:
		break;
	}
}

static void add_head(struct strbuf *b, enum log_level level, const char *event)
{
	struct timespec now;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strbuf_addf(b, "%04d-%02d-%02dT%02d:%02d:%02d.%06ldZ level=%s %s[%d] event=%s",
	    tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
	    now.tv_nsec / 1000, level_names[level], log_program, log_pid ? log_pid : (int)getpid(),
	    event);
}

void log_write(enum log_level level, const char *event, const struct log_field *fields)
{
	struct strbuf b;

	if (!log_is_enabled(level))
		return;
	strbuf_init(&b, LINE_MAX_BYTES);
	add_head(&b, level, event);
	for (; fields->type != LOG_T_END; fields++) {
		size_t before = b.n;

		add_field(&b, fields);
		if (b.failed || b.n > LINE_MAX_BYTES - 64) {
			strbuf_truncate(&b, before);
			b.failed = false;
			strbuf_add_str(&b, " cut=1");
			break;
		}
	}
	strbuf_add_chr(&b, '\n');
	/* One call a line keeps lines of several threads and processes whole. */
	(void)!write(log_fd, b.p, b.n);
	strbuf_clear(&b);
}
