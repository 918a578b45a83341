#include "common/store/sweep.h"

#include "common/base/mem.h"
#include "common/log/log.h"

#define FOLDERS 256
#define IDS_BYTES_MAX ((size_t)64 << 20)

struct sweep {
	struct db_readers *readers;
	struct blob_dir *dir;
	sweep_known_fn *known;
	void *arg;
	void (*done)(void *arg, size_t removed);
	struct work list, unlink;
	struct db_job filter;
	unsigned folder;
	struct strbuf ids; /* of the folder, BLOB_ID_LEN bytes each */
	bool *is_known;
	size_t removed;
	struct err err;
	bool is_stopped;
};

static size_t id_count(const struct sweep *s)
{
	return s->ids.n / BLOB_ID_LEN;
}

static const unsigned char *id_at(const struct sweep *s, size_t i)
{
	return (const unsigned char *)s->ids.p + i * BLOB_ID_LEN;
}

static void end(struct sweep *s)
{
	if (s->err.code != ERR_NONE)
		log_warning("sweep-failed", LOG_ERR(&s->err));
	s->done(s->arg, s->removed);
	strbuf_clear(&s->ids);
	mem_free(s->is_known);
	mem_free(s);
}

/* --- one folder: list, ask, unlink ------------------------------------------------------------ */
static void list_run(struct work *w)
{
	struct sweep *s = container_of(w, struct sweep, list);

	strbuf_reset(&s->ids);
	(void)blob_list_old(s->dir, s->folder, SWEEP_SECONDS, SWEEP_TEMP_SECONDS, &s->ids, &s->err);
}

static void filter_run(struct db_job *job, struct db_txn *txn)
{
	struct sweep *s = container_of(job, struct sweep, filter);

	(void)s->known(s->arg, txn, (const unsigned char(*)[BLOB_ID_LEN])s->ids.p, id_count(s),
	    s->is_known, &job->err);
}

static void unlink_run(struct work *w)
{
	struct sweep *s = container_of(w, struct sweep, unlink);

	for (size_t i = 0; i < id_count(s); i++)
		if (!s->is_known[i] && blob_unlink(s->dir, id_at(s, i), NULL) == 0)
			s->removed++;
}

static void next_folder(struct sweep *s)
{
	if (s->is_stopped || s->err.code != ERR_NONE || ++s->folder == FOLDERS) {
		end(s);
		return;
	}
	workers_submit(db_readers_workers(s->readers), &s->list);
}

static void unlink_done(struct work *w)
{
	next_folder(container_of(w, struct sweep, unlink));
}

static void filter_done(struct db_job *job)
{
	struct sweep *s = container_of(job, struct sweep, filter);

	s->err = job->err;
	if (s->is_stopped || s->err.code != ERR_NONE) {
		end(s);
		return;
	}
	workers_submit(db_readers_workers(s->readers), &s->unlink);
}

static void list_done(struct work *w)
{
	struct sweep *s = container_of(w, struct sweep, list);

	if (s->is_stopped || s->err.code != ERR_NONE || id_count(s) == 0) {
		next_folder(s);
		return;
	}
	mem_free(s->is_known);
	s->is_known = mem_array(id_count(s), sizeof(*s->is_known));
	db_read(s->readers, &s->filter);
}

struct sweep *sweep_start(struct db_readers *readers, struct blob_dir *dir, sweep_known_fn *known,
    void *arg, void (*done)(void *arg, size_t removed))
{
	struct sweep *s = mem_zalloc(sizeof(*s));

	s->readers = readers;
	s->dir = dir;
	s->known = known;
	s->arg = arg;
	s->done = done;
	s->list = (struct work){.run = list_run, .done = list_done};
	s->unlink = (struct work){.run = unlink_run, .done = unlink_done};
	s->filter = (struct db_job){.run = filter_run, .done = filter_done};
	strbuf_init(&s->ids, IDS_BYTES_MAX);
	workers_submit(db_readers_workers(readers), &s->list);
	return s;
}

void sweep_stop(struct sweep *s)
{
	if (s)
		s->is_stopped = true;
}
