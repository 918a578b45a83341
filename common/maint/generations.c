/* backup list [FOLDER], backup verify [FOLDER]: what is there, and whether it can be read. */
#include "common/maint/backup.h"

#include "common/event/clock.h"
#include "common/store/check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define VERIFIED "verified" /* its time is that of the last look */

bool is_generation(const char *name)
{
	for (size_t i = 0; i < BACKUP_NAME_LEN; i++) {
		bool is_letter = i == 8 || i == 15;

		if (is_letter ? name[i] != (i == 8 ? 'T' : 'Z') : !ascii_is_digit(name[i]))
			return false;
	}
	return name[BACKUP_NAME_LEN] == '\0';
}

int generation_find(
    const char *backup, struct span wanted, char out[BACKUP_NAME_LEN + 1], struct err *err)
{
	char path[BACKUP_PATH];
	const struct dirent *e;
	DIR *dir;

	out[0] = '\0';
	if (!path_join(path, backup, "generations", NULL))
		return err_set(err, ERR_INVALID, "%s: path too long", backup);
	dir = opendir(path);
	if (!dir)
		return err_errno(err, errno, "%s", path);
	while ((e = readdir(dir)))
		if (is_generation(e->d_name) && (wanted.n > 0 ? span_eq(wanted, span_of(e->d_name))
							      : strcmp(e->d_name, out) > 0))
			memcpy(out, e->d_name, BACKUP_NAME_LEN + 1);
	closedir(dir);
	return out[0] ? 0 : err_set(err, ERR_NOT_FOUND, "%s: no such generation", path);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

int generations_list(const char *backup, struct generations *all, struct err *err)
{
	char path[BACKUP_PATH];
	const struct dirent *e;
	DIR *dir;

	all->n = 0;
	if (!path_join(path, backup, "generations", NULL))
		return err_set(err, ERR_INVALID, "%s: path too long", backup);
	dir = opendir(path);
	if (!dir)
		return err_errno(err, errno, "%s", path);
	while (all->n < GENERATIONS_MAX && (e = readdir(dir)))
		if (is_generation(e->d_name))
			memcpy(all->list[all->n++], e->d_name, BACKUP_NAME_LEN + 1);
	closedir(dir);
	qsort(all->list, all->n, sizeof(all->list[0]), by_name);
	return 0;
}

const char *backup_folder(struct maint *m, size_t word)
{
	struct span given = maint_word(m, word);
	const char *dir = given.n > 0 ? given.p : config_str(m->cfg, SET_BACKUP_FOLDER);

	if (!dir[0])
		maint_end(m, ERR_INVALID, "name a folder, or set backup.folder");
	return dir[0] ? dir : NULL;
}

/* --- backup list ------------------------------------------------------------------------------ */
/* A number of the file "summary", which older generations do not have. */
static uint64_t summary(const char *generation, const char *name)
{
	char path[BACKUP_PATH], line[128];
	uint64_t n = 0;
	FILE *f = path_join(path, generation, "summary", NULL) ? fopen(path, "re") : NULL;

	while (f && fgets(line, sizeof(line), f)) {
		struct span rest = span_trim(span_of(line));
		struct span word;

		if (span_split(&rest, ' ', &word) && span_eq(word, span_of(name)))
			(void)span_u64(rest, UINT64_MAX, &n);
	}
	if (f)
		fclose(f);
	return n;
}

static uint64_t file_size(const char *generation, const char *name)
{
	char path[BACKUP_PATH];
	struct stat st;

	return path_join(path, generation, name, "data.mdb") && stat(path, &st) == 0
		   ? (uint64_t)st.st_size
		   : 0;
}

static uint64_t time_of(const char *name)
{
	struct tm tm = {.tm_isdst = 0};

	return strptime(name, "%Y%m%dT%H%M%SZ", &tm) ? (uint64_t)timegm(&tm) : 0;
}

static void tell(const char *dir, const char *name)
{
	uint64_t made = time_of(name);
	uint64_t now = (uint64_t)clock_now();
	char generation[BACKUP_PATH], parent[BACKUP_PATH], path[BACKUP_PATH];
	struct strbuf b;
	struct stat st;

	if (!path_join(parent, dir, "generations", NULL) ||
	    !path_join(generation, parent, name, NULL) ||
	    !path_join(path, generation, VERIFIED, NULL))
		return;
	strbuf_init(&b, 4096);
	ipc_rec_text(&b, "generation", span_of(name));
	ipc_rec_number(&b, "made", IPC_TIME, made);
	ipc_rec_number(&b, "days", IPC_NUMBER, now > made ? (now - made) / 86400 : 0);
	ipc_rec_number(&b, "accounts", IPC_NUMBER, summary(generation, "accounts"));
	ipc_rec_number(&b, "messages", IPC_NUMBER, summary(generation, "messages"));
	ipc_rec_number(&b, "size", IPC_BYTES,
	    file_size(generation, "store") + file_size(generation, "queue") +
		file_size(generation, "auth"));
	ipc_rec_number(&b, "verified", IPC_TIME, stat(path, &st) == 0 ? (uint64_t)st.st_mtime : 0);
	maint_record(&b);
}

int backup_list(struct maint *m, const char *dir)
{
	static struct generations all;
	struct err err = ERR_INIT;

	if (!dir)
		return -1;
	if (generations_list(dir, &all, &err) < 0)
		return err.code == ERR_NOT_FOUND
			   ? maint_end(m, ERR_NONE, "no backup in %s yet", dir)
			   : maint_fail(m, &err);
	for (size_t i = all.n; i-- > 0;)
		tell(dir, all.list[i]);
	return 0;
}

/* --- backup verify
 * ------------------------------------------------------------------------------------------- */
static void progress(void *arg, uint64_t done, uint64_t all)
{
	maint_progress("bodies: %llu of %llu", (unsigned long long)done, (unsigned long long)all);
}

/* Opened and a transaction begun: what cannot be read by LMDB is told apart here. */
static int look_at(struct maint *m, const char *generation, const char *name, struct err *err)
{
	char dir[BACKUP_PATH];
	struct db_env *env;
	struct db_txn *txn;
	int rc;

	if (!path_join(dir, generation, name, NULL) ||
	    env_open_at(dir, config_u64(m->cfg, SET_STORE_MAP_SIZE), &env, err) < 0)
		return -1;
	rc = db_read_begin(env, &txn, err);
	if (rc == 0)
		db_abort(txn);
	db_env_close(env);
	return rc;
}

static int look_at_store(struct maint *m, const char *backup, const char *generation,
    struct store_check *c, struct err *err)
{
	char dir[BACKUP_PATH], blobs[BACKUP_PATH];
	struct db_env *env = NULL;
	struct blob_dir *files = NULL;
	int rc = -1;

	if (path_join(dir, generation, "store", NULL) &&
	    path_join(blobs, backup, "blob", "store") &&
	    env_open_at(dir, config_u64(m->cfg, SET_STORE_MAP_SIZE), &env, err) == 0 &&
	    blob_dir_open(blobs, &files, err) == 0)
		rc = store_check_run(env, files, c, err);
	blob_dir_close(files);
	db_env_close(env);
	return rc;
}

static void mark_verified(const char *generation)
{
	char path[BACKUP_PATH];
	int fd = path_join(path, generation, VERIFIED, NULL)
		     ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)
		     : -1;

	/* A folder that cannot be written to was verified all the same. */
	if (fd < 0)
		return;
	(void)futimens(fd, NULL);
	close(fd);
}

static int verify(struct maint *m)
{
	const char *dir = backup_folder(m, 2);
	char name[BACKUP_NAME_LEN + 1], parent[BACKUP_PATH], generation[BACKUP_PATH];
	struct store_check c = {.bodies = true, .report = maint_damage, .progress = progress};
	struct err err = ERR_INIT;

	if (!dir)
		return -1;
	if (generation_find(dir, maint_option(m, "--generation"), name, &err) < 0)
		return maint_fail(m, &err);
	if (!path_join(parent, dir, "generations", NULL) ||
	    !path_join(generation, parent, name, NULL))
		return maint_end(m, ERR_INVALID, "%s: path too long", dir);
	if (look_at(m, generation, "auth", &err) < 0 || look_at(m, generation, "queue", &err) < 0 ||
	    look_at_store(m, dir, generation, &c, &err) < 0)
		return maint_fail(m, &err);
	if (c.damaged > 0)
		return maint_end(m, ERR_CORRUPT, "generation %s has %llu damages", name,
		    (unsigned long long)c.damaged);
	mark_verified(generation);
	return maint_end(m, ERR_NONE,
	    "generation %s: %llu messages of %llu accounts, every byte read: all well", name,
	    (unsigned long long)c.messages, (unsigned long long)c.accounts);
}

int backup_verify(struct maint *m)
{
	/* In a child: a damaged database may crash who reads it. */
	return maint_run_as(m, WHO_COUNT, "this backup", verify);
}
