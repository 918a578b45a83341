/*
 * migrate: databases of an older format become what this version reads. All that need it are copied
 * first, and the copies changed; only when every one of them is whole do they take the places of
 * the old ones, which are kept as data.format-N. Until then nothing has happened, whatever fails.
 * Nobody has the databases open meanwhile: who wants to waits (db_folder_lock).
 */
#include "common/base/mem.h"
#include "common/db/format.h"
#include "common/maint/backup.h"
#include "common/maint/steps.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 90000 /* roles see their sessions off for 30 s, then are ended */
#define AGAIN_MS 100
#define TEMP "migrated"

static struct database {
	const char *name;
	enum who who;
	unsigned format; /* found; 0: there is no such database yet */
	int lock;
} databases[] = {
    {"store", WHO_IMAP, 0, -1}, {"queue", WHO_LOCAL, 0, -1}, {"auth", WHO_AUTH, 0, -1}};

static struct database *current;

static bool is_old(const struct database *d)
{
	return d->format != 0 && d->format < db_format_of(d->name);
}

static bool any_is_old(void)
{
	for (size_t i = 0; i < ARRAY_LEN(databases); i++)
		if (is_old(&databases[i]))
			return true;
	return false;
}

/* <state>/NAME/env, and in it a file or a file of the copy. */
static int path_of(struct maint *m, const struct database *d, const char *a, const char *b,
    char out[BACKUP_PATH], struct err *err)
{
	char rest[64], dir[CONFIG_PATH_MAX];

	snprintf(rest, sizeof(rest), "%s/env", d->name);
	if (config_state_path(m->cfg, rest, dir, err) < 0)
		return -1;
	if (a ? path_join(out, dir, a, b) : snprintf(out, BACKUP_PATH, "%s", dir) < BACKUP_PATH)
		return 0;
	return err_set(err, ERR_INVALID, "%s: path too long", dir);
}

static int open_env(struct maint *m, const char *dir, struct db_env **env, struct err *err)
{
	enum setting map = strcmp(current->name, "queue") == 0  ? SET_QUEUE_MAP_SIZE
			   : strcmp(current->name, "auth") == 0 ? SET_AUTH_MAP_SIZE
								: SET_STORE_MAP_SIZE;
	struct db_options opt = {.dir = dir,
	    .map_size = config_u64(m->cfg, map),
	    .mode = map == SET_AUTH_MAP_SIZE ? 0600 : 0660,
	    .is_alone = current->lock >= 0};

	opt.map_max = opt.map_size;
	return db_env_open(&opt, env, err);
}

/* --- looking: as the owner, the number comes back as text ------------------------------------- */
static int look(struct maint *m, unsigned *format, struct err *err)
{
	char dir[BACKUP_PATH], file[BACKUP_PATH];
	struct db_env *env;
	int rc;

	*format = 0;
	if (path_of(m, current, NULL, NULL, dir, err) < 0 ||
	    path_of(m, current, "data.mdb", NULL, file, err) < 0)
		return -1;
	if (access(file, F_OK) < 0)
		return errno == ENOENT ? 0 : err_errno(err, errno, "%s", file);
	if (open_env(m, dir, &env, err) < 0)
		return -1;
	rc = db_format_get(env, format, err);
	db_env_close(env);
	return rc;
}

static int look_current(struct maint *m)
{
	struct err err = ERR_INIT;
	unsigned format;

	if (look(m, &format, &err) < 0)
		return maint_fail(m, &err);
	return maint_end(m, ERR_NONE, "%u", format);
}

static int look_at_all(struct maint *m)
{
	for (size_t i = 0; i < ARRAY_LEN(databases); i++) {
		uint64_t format = 0;

		current = &databases[i];
		if (maint_run_as(m, current->who, current->name, look_current) < 0)
			return -1;
		(void)span_u64(span_of(m->text), UINT32_MAX, &format);
		m->text[0] = '\0';
		current->format = (unsigned)format;
		if (current->format > db_format_of(current->name))
			return maint_end(m, ERR_UNSUPPORTED,
			    "%s has format %u, of a newer version; this one knows %u: install that "
			    "version again, or restore a backup of this one",
			    current->name, current->format, db_format_of(current->name));
	}
	return 0;
}

/* --- one database ----------------------------------------------------------------------------- */
static void forget_copy(struct maint *m)
{
	static const char *const names[] = {"data.mdb", "lock.mdb", NULL};
	struct err err = ERR_INIT;
	char path[BACKUP_PATH];

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (path_of(m, current, TEMP, names[i], path, &err) == 0)
			(void)(names[i] ? unlink(path) : rmdir(path));
}

static int has_room(const char *dir, const char *file, struct err *err)
{
	struct statvfs v;
	struct stat st;

	if (stat(file, &st) < 0 || statvfs(dir, &v) < 0)
		return err_errno(err, errno, "%s", file);
	if ((uint64_t)v.f_bavail * v.f_frsize < 2 * (uint64_t)st.st_size + SPACE_FLOOR)
		return err_set(err, ERR_NO_SPACE, "%s: %llu MB must be free for the copy", dir,
		    (unsigned long long)((2 * (uint64_t)st.st_size + SPACE_FLOOR) >> 20));
	return 0;
}

static int take_steps(struct db_env *env, struct err *err)
{
	for (unsigned from = current->format; from < db_format_of(current->name); from++) {
		const struct migration_step *s = migration_steps;

		while (s->name && (strcmp(s->name, current->name) != 0 || s->from != from))
			s++;
		if (!s->name)
			return err_set(
			    err, ERR_UNSUPPORTED, "nothing leads from format %u on", from);
		if (s->run(env, err) < 0 || db_format_set(env, from + 1, err) < 0)
			return err_wrap(err, "from format %u to %u", from, from + 1);
	}
	return 0;
}

static int make_copy(struct maint *m, struct err *err)
{
	char dir[BACKUP_PATH], file[BACKUP_PATH], temp[BACKUP_PATH];
	struct db_env *env;
	int rc;

	if (path_of(m, current, NULL, NULL, dir, err) < 0 ||
	    path_of(m, current, "data.mdb", NULL, file, err) < 0 ||
	    path_of(m, current, TEMP, NULL, temp, err) < 0 || has_room(dir, file, err) < 0)
		return -1;
	forget_copy(m); /* of a run that was cut off */
	if (open_env(m, dir, &env, err) < 0)
		return -1;
	rc = db_env_copy(env, temp, err);
	db_env_close(env);
	if (rc < 0 || open_env(m, temp, &env, err) < 0)
		return -1;
	rc = take_steps(env, err);
	db_env_close(env);
	return rc;
}

static int copy_current(struct maint *m)
{
	struct err err = ERR_INIT;

	if (make_copy(m, &err) == 0)
		return 0;
	forget_copy(m);
	return maint_end(m, err.code, "%s: %s", current->name, err.text);
}

static int forget_current(struct maint *m)
{
	forget_copy(m);
	return 0;
}

/* What an earlier migration has kept. */
static void forget_older(const char *dir)
{
	DIR *d = opendir(dir);
	const struct dirent *e;

	if (!d)
		return;
	while ((e = readdir(d)))
		if (strncmp(e->d_name, "data.format-", 12) == 0)
			(void)unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
}

/* A crash in between leaves the new one in its place, and a file more. */
static int swap(struct maint *m, struct err *err)
{
	char dir[BACKUP_PATH], file[BACKUP_PATH], fresh[BACKUP_PATH], kept[BACKUP_PATH], name[40];
	mode_t mode = strcmp(current->name, "auth") == 0 ? 0600 : 0660;
	int fd, rc = 0;

	snprintf(name, sizeof(name), "data.format-%u", current->format);
	if (path_of(m, current, NULL, NULL, dir, err) < 0 ||
	    path_of(m, current, "data.mdb", NULL, file, err) < 0 ||
	    path_of(m, current, TEMP, "data.mdb", fresh, err) < 0 ||
	    path_of(m, current, name, NULL, kept, err) < 0)
		return -1;
	forget_older(dir);
	if (chmod(fresh, mode) < 0 ||
	    renameat2(AT_FDCWD, fresh, AT_FDCWD, file, RENAME_EXCHANGE) < 0 ||
	    rename(fresh, kept) < 0)
		return err_errno(err, errno, "%s", file);
	forget_copy(m);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		rc = err_errno(err, errno, "flushing %s", dir);
	if (fd >= 0)
		close(fd);
	return rc;
}

static int swap_current(struct maint *m)
{
	struct err err = ERR_INIT;

	return swap(m, &err) < 0 ? maint_fail(m, &err) : 0;
}

/* --- all of them ------------------------------------------------------------------------------ */
static void unlock_all(void)
{
	for (size_t i = 0; i < ARRAY_LEN(databases); i++) {
		if (databases[i].lock >= 0)
			close(databases[i].lock);
		databases[i].lock = -1;
	}
}

/* Whoever has one of them open is seeing his sessions off. */
static int lock_all(struct maint *m)
{
	const struct timespec pause = {.tv_nsec = AGAIN_MS * 1000000L};
	struct err err = ERR_INIT;
	char dir[BACKUP_PATH];
	int left = WAIT_MS / AGAIN_MS;

	for (size_t i = 0; i < ARRAY_LEN(databases); i++) {
		if (!is_old(&databases[i]))
			continue;
		if (path_of(m, &databases[i], NULL, NULL, dir, &err) < 0)
			return maint_fail(m, &err);
		while ((databases[i].lock = db_folder_lock(dir, &err)) < 0) {
			if (err.code != ERR_BUSY || left-- == 0)
				return maint_fail(m, &err);
			maint_progress("%s is in use: waiting", databases[i].name);
			err = (struct err){0};
			(void)nanosleep(&pause, NULL);
		}
	}
	return 0;
}

static int on_old(struct maint *m, int (*fn)(struct maint *m))
{
	for (size_t i = 0; i < ARRAY_LEN(databases); i++) {
		current = &databases[i];
		if (is_old(current) && maint_run_as(m, current->who, current->name, fn) < 0)
			return -1;
	}
	return 0;
}

static int report(struct maint *m)
{
	struct strbuf b;

	for (size_t i = 0; i < ARRAY_LEN(databases); i++) {
		if (databases[i].format == 0)
			continue;
		strbuf_init(&b, 512);
		ipc_rec_text(&b, "database", span_of(databases[i].name));
		ipc_rec_number(&b, "format", IPC_NUMBER, databases[i].format);
		ipc_rec_number(&b, "known", IPC_NUMBER, db_format_of(databases[i].name));
		maint_record(&b);
	}
	return maint_end(m, ERR_NONE, "%s", any_is_old() ? "older: mailsteadctl migrate" : "");
}

static int migrate(struct maint *m)
{
	/* Somebody else may have been faster. */
	if (lock_all(m) < 0 || look_at_all(m) < 0)
		return -1;
	if (!any_is_old())
		return 0;
	if (on_old(m, copy_current) < 0) {
		struct maint failed = *m;

		m->code = ERR_NONE;
		(void)on_old(m, forget_current);
		m->code = ERR_NONE;
		return maint_end(m,
		    failed.code == ERR_BUSY || failed.code == ERR_NO_SPACE ? failed.code
									   : ERR_INVALID,
		    "%.500s; nothing was changed: the version before this one can go on with it",
		    failed.text);
	}
	return on_old(m, swap_current);
}

int verb_migrate(struct maint *m)
{
	int rc;

	if (look_at_all(m) < 0)
		return -1;
	if (maint_has(m, "--look"))
		return report(m);
	if (!any_is_old())
		return 0;
	rc = migrate(m);
	unlock_all();
	return rc < 0 ? -1
		      : maint_end(m, ERR_NONE,
			    "the databases have the format of this version now; those of before "
			    "are kept as data.format-N");
}
