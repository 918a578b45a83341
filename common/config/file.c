#include "common/config/config_int.h"

#include "common/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int config_file_read(const char *path, struct strbuf *out, struct err *err)
{
	char buf[8192];
	struct stat st;
	int result = -1;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_errno(err, errno, "%s", path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		err_set(err, ERR_INVALID, "%s: not a regular file", path);
		goto out;
	}
	for (;;) {
		ssize_t n = read(fd, buf, sizeof(buf));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			err_errno(err, errno, "%s", path);
			goto out;
		}
		if (n == 0)
			break;
		if (!strbuf_add_mem(out, buf, (size_t)n)) {
			err_set(err, ERR_LIMIT, "%s: larger than %d bytes", path, CONFIG_FILE_MAX);
			goto out;
		}
	}
	result = 0;
out:
	close(fd);
	return result;
}

void config_file_clear(struct config_file *f)
{
	for (size_t i = 0; i < f->count; i++)
		mem_free(f->list[i].value);
	mem_free(f->list);
	mem_free(f->text);
	mem_free(f->path);
	memset(f, 0, sizeof(*f));
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* A value in double quotes: backslash quotes the next character; only a comment may follow. */
static int unquote(struct span s, struct strbuf *out, struct err *err)
{
	size_t i = 1;

	for (; i < s.n && s.p[i] != '"'; i++) {
		if (s.p[i] == '\\' && i + 1 < s.n)
			i++;
		strbuf_add_chr(out, s.p[i]);
	}
	if (i >= s.n)
		return err_set(err, ERR_INVALID, "found %.*s, expected a closing quote",
		    s.n < 60 ? (int)s.n : 60, s.p);
	s = span_trim(span_from(s, i + 1));
	if (s.n > 0 && s.p[0] != '#')
		return err_set(err, ERR_INVALID,
		    "found \"%.*s\" behind the closing quote, expected the end of the line",
		    s.n < 60 ? (int)s.n : 60, s.p);
	return 0;
}

static int take_value(struct span s, struct strbuf *out, struct err *err)
{
	if (s.n > 0 && s.p[0] == '"')
		return unquote(s, out, err);
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '#' && (i == 0 || is_blank(s.p[i - 1]))) {
			s.n = i;
			break;
		}
	}
	strbuf_add(out, span_trim(s));
	return 0;
}

static const struct assignment *find(const struct config_file *f, struct span name)
{
	for (size_t i = 0; i < f->count; i++)
		if (span_eq(f->list[i].name, name))
			return &f->list[i];
	return NULL;
}

static int add(
    struct config_file *f, struct span name, struct span value, unsigned line, struct err *err)
{
	const struct assignment *before = find(f, name);
	struct strbuf b;

	if (before)
		return err_set(err, ERR_INVALID,
		    "%s:%u: found \"%.*s\" again, expected it once (first in line %u)", f->path,
		    line, name.n < 80 ? (int)name.n : 80, name.p, before->line);
	strbuf_init(&b, CONFIG_FILE_MAX);
	if (take_value(value, &b, err) < 0) {
		strbuf_clear(&b);
		return err_wrap(
		    err, "%s:%u: %.*s", f->path, line, name.n < 80 ? (int)name.n : 80, name.p);
	}
	if (f->count == f->cap) {
		f->cap = f->cap ? f->cap * 2 : 16;
		f->list = mem_grow(f->list, f->cap, sizeof(*f->list));
	}
	f->list[f->count++] =
	    (struct assignment){.name = name, .value = strbuf_steal(&b, NULL), .line = line};
	return 0;
}

int config_file_parse(struct config_file *f, const char *path, struct span text, struct err *err)
{
	struct span rest, line;
	unsigned number = 0;

	memset(f, 0, sizeof(*f));
	f->path = mem_strdup(path);
	f->text = mem_strndup(text.p, text.n);
	f->text_n = text.n;
	rest = span_make(f->text, f->text_n);
	while (span_split(&rest, '\n', &line)) {
		ssize_t eq = span_chr(line, '=');
		struct span name = span_trim(eq < 0 ? line : span_sub(line, 0, (size_t)eq));

		number++;
		if (span_chr(line, '\0') >= 0)
			return err_set(err, ERR_INVALID, "%s:%u: found a NUL byte, expected text",
			    path, number);
		if (name.n == 0 && eq < 0)
			continue;
		if (name.n > 0 && name.p[0] == '#')
			continue;
		if (eq < 0 || name.n == 0)
			return err_set(err, ERR_INVALID,
			    "%s:%u: found \"%.*s\", expected name = value", path, number,
			    line.n < 60 ? (int)line.n : 60, line.p);
		if (add(f, name, span_trim(span_from(line, (size_t)eq + 1)), number, err) < 0)
			return -1;
	}
	return 0;
}
