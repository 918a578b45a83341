#include "webadmin/acme/acme.h"

#include "common/daemon/file.h"
#include "common/ipc/msg.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* As keyd's rule: a file name, and never an option. */
static bool id_is_good(struct span id)
{
	if (id.n == 0 || id.n > ACME_ID_MAX || id.p[0] == '-')
		return false;
	for (size_t i = 0; i < id.n; i++)
		if (!(id.p[i] >= 'a' && id.p[i] <= 'z') && !(id.p[i] >= '0' && id.p[i] <= '9') &&
		    id.p[i] != '-')
			return false;
	return true;
}

struct entry *book_find(struct book *b, struct span id)
{
	for (size_t i = 0; i < b->count; i++)
		if (span_eq(span_of(b->list[i].id), id))
			return &b->list[i];
	return NULL;
}

struct entry *book_add(struct book *b, struct span id, struct err *err)
{
	struct entry *e = book_find(b, id);

	if (e)
		return e;
	/* The client's own folder stands beside the entries. */
	if (span_eq(id, SPAN("client"))) {
		err_set(err, ERR_INVALID, "\"client\" cannot be the id of a certificate by ACME");
		return NULL;
	}
	if (!id_is_good(id)) {
		err_set(err, ERR_INVALID, "\"%.*s\" is no certificate id: a-z, 0-9 and '-'",
		    id.n < 64 ? (int)id.n : 64, id.p);
		return NULL;
	}
	if (b->count == ACME_ENTRIES_MAX) {
		err_set(err, ERR_LIMIT, "more than %d certificates by ACME", ACME_ENTRIES_MAX);
		return NULL;
	}
	e = &b->list[b->count++];
	*e = (struct entry){0};
	memcpy(e->id, id.p, id.n);
	return e;
}

void entry_record(const struct entry *e, const char *state, struct strbuf *record)
{
	ipc_rec_text(record, "id", span_of(e->id));
	ipc_rec_text(record, "names", span_of(e->names));
	ipc_rec_text(record, "state", span_of(state));
	ipc_rec_number(record, "last", IPC_TIME, e->last);
	ipc_rec_number(record, "next", IPC_TIME, e->next);
	ipc_rec_number(record, "failures", IPC_NUMBER, e->fails);
	ipc_rec_text(record, "text", span_of(e->text));
}

static void take_text(char *to, size_t size, struct span from)
{
	snprintf(to, size, "%.*s", SPAN_FMT(from));
}

static void take_value(struct entry *e, const struct ipc_value *v)
{
	if (span_eq(v->name, SPAN("names")))
		take_text(e->names, sizeof(e->names), v->text);
	else if (span_eq(v->name, SPAN("text")))
		take_text(e->text, sizeof(e->text), v->text);
	else if (span_eq(v->name, SPAN("last")))
		e->last = v->number;
	else if (span_eq(v->name, SPAN("next")))
		e->next = v->number;
	else if (span_eq(v->name, SPAN("failures")))
		e->fails = v->number;
}

static int load(struct book *b, const char *name, struct err *err)
{
	struct ipc_value v;
	struct strbuf text;
	struct entry *e;
	struct dec d;
	int result;

	strbuf_init(&text, ACME_FILE_MAX);
	result = file_read(b->dir, name, &text, err);
	e = result == 0 ? book_add(b, span_of(name), err) : NULL;
	if (e) {
		d = dec_of(strbuf_span(&text));
		while (ipc_rec_next(&d, &v))
			take_value(e, &v);
	}
	strbuf_clear(&text);
	return e ? 0 : -1;
}

int book_open(struct book *b, const struct config *cfg, struct err *err)
{
	char path[CONFIG_PATH_MAX];
	struct dirent *e;
	DIR *d;
	int copy, result = 0;

	*b = (struct book){0};
	if (folders_make_state(cfg, "acme", err) < 0 ||
	    config_state_path(cfg, "acme", path, err) < 0)
		return -1;
	b->dir = file_open_folder(path, err);
	if (b->dir < 0)
		return -1;
	copy = openat(b->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = copy < 0 ? NULL : fdopendir(copy);
	if (!d)
		return err_errno(err, errno, "%s", path);
	while (result == 0 && (e = readdir(d)))
		if (id_is_good(span_of(e->d_name)) && e->d_type == DT_REG)
			result = load(b, e->d_name, err);
	closedir(d);
	return result;
}

int book_save(struct book *b, const struct entry *e, struct err *err)
{
	struct strbuf record;
	int result;

	strbuf_init(&record, ACME_FILE_MAX);
	entry_record(e, "", &record);
	result = file_write(b->dir, e->id, 0600, strbuf_span(&record), err);
	strbuf_clear(&record);
	return result;
}

int book_remove(struct book *b, struct entry *e, struct err *err)
{
	if (unlinkat(b->dir, e->id, 0) < 0 && errno != ENOENT)
		return err_errno(err, errno, "%s", e->id);
	(void)fsync(b->dir);
	*e = b->list[--b->count];
	return 0;
}
