/*
 * recover: what is still good of damaged databases, while nothing runs. Each is read page by page
 * (db/salvage.h) into a new one beside it, which is looked at and repaired, and then takes its
 * place; the damaged file is kept. One without damage is left as it is.
 */
#include "common/maint/backup.h"

#include "common/base/mem.h"
#include "common/db/salvage.h"
#include "common/store/rescue.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct recovery {
	struct maint *m;
	const char *name; /* store, queue, auth */
	bool is_store;
	char dir[CONFIG_PATH_MAX]; /* of the environment */
	struct db_env *env;        /* the new one */
	struct db_recover rows;
	struct store_check seen;
	struct store_rescue rescue;
	struct err err;
};

/* The children know it by this: each is a process of its own. */
static const char *current;

static void on_lost(void *arg, struct span from, struct span to)
{
	struct recovery *r = arg;
	char what[400], first[100] = "", last[100] = "the end";

	if (r->is_store) {
		store_key_text(from, first, sizeof(first));
		if (to.p)
			store_key_text(to, last, sizeof(last));
		snprintf(what, sizeof(what), "a page is damaged: %s, before %s", first, last);
	} else {
		snprintf(what, sizeof(what), "a page of the database %s is damaged", r->name);
	}
	maint_damage(
	    NULL, &(struct store_damage){
		      .account = r->is_store && from.n >= 8 ? be_get64(from.p) : 0, .what = what});
}

/* Of the queue and of who may log in nothing is guessed. */
static bool is_row(struct span key, struct span val, enum db_trust trust)
{
	return trust != DB_GUESS;
}

/* --- one environment -------------------------------------------------------------------------- */
static void remove_new(const char *temp)
{
	static const char *const names[] = {"data.mdb", "lock.mdb"};
	char path[BACKUP_PATH];

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (path_join(path, temp, names[i], NULL))
			(void)unlink(path);
	(void)rmdir(temp);
}

static int open_new(struct recovery *r, const char *temp)
{
	enum setting map = strcmp(r->name, "queue") == 0  ? SET_QUEUE_MAP_SIZE
			   : strcmp(r->name, "auth") == 0 ? SET_AUTH_MAP_SIZE
							  : SET_STORE_MAP_SIZE;
	struct db_options opt = {.dir = temp,
	    .map_size = config_u64(r->m->cfg, map),
	    .mode = map == SET_AUTH_MAP_SIZE ? 0600 : 0660};

	opt.map_max = opt.map_size;
	remove_new(temp); /* of a run that was cut off */
	return db_env_open(&opt, &r->env, &r->err);
}

/* Counts and references are made right, and whatever can be said of messages is said. */
static int look_at_store(struct recovery *r)
{
	char path[CONFIG_PATH_MAX];
	struct blob_dir *blobs;
	int rc;

	if (config_state_path(r->m->cfg, "store/blob", path, &r->err) < 0 ||
	    blob_dir_open(path, &blobs, &r->err) < 0)
		return -1;
	r->rescue.report = maint_damage;
	r->seen = (struct store_check){.repair = true, .bodies = true, .report = maint_damage};
	rc = store_rescue_run(r->env, blobs, &r->rescue, &r->err);
	if (rc == 0)
		rc = store_check_run(r->env, blobs, &r->seen, &r->err);
	blob_dir_close(blobs);
	return rc;
}

static int flush_dir(struct recovery *r)
{
	int fd = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = fd < 0 || fsync(fd) < 0 ? err_errno(&r->err, errno, "flushing %s", r->dir) : 0;

	if (fd >= 0)
		close(fd);
	return rc;
}

/* A second name for the damaged file, before anything takes its place: it is never without one. A
 * run that was cut off may have given it already. */
static int keep(struct recovery *r, const char *place, char kept[BACKUP_PATH])
{
	struct stat damaged, there;

	if (stat(place, &damaged) < 0)
		return err_errno(&r->err, errno, "%s", place);
	for (unsigned i = 1; i < 1000; i++) {
		if (snprintf(kept, BACKUP_PATH, "%s/data.damaged-%u", r->dir, i) >= BACKUP_PATH)
			return err_set(&r->err, ERR_INVALID, "%s: path too long", r->dir);
		if (link(place, kept) == 0)
			return flush_dir(r);
		if (errno != EEXIST)
			break;
		if (stat(kept, &there) == 0 && there.st_dev == damaged.st_dev &&
		    there.st_ino == damaged.st_ino)
			return flush_dir(r);
	}
	return err_errno(&r->err, errno, "%s", kept);
}

/* The new file in the place of the old one. */
static int swap(struct recovery *r, const char *temp, char kept[BACKUP_PATH])
{
	char fresh[BACKUP_PATH], place[BACKUP_PATH];

	if (!path_join(fresh, temp, "data.mdb", NULL) ||
	    !path_join(place, r->dir, "data.mdb", NULL))
		return err_set(&r->err, ERR_INVALID, "%s: path too long", r->dir);
	if (keep(r, place, kept) < 0)
		return -1;
	if (rename(fresh, place) < 0)
		return err_errno(&r->err, errno, "%s", place);
	return flush_dir(r);
}

static int read_old(struct recovery *r)
{
	char path[BACKUP_PATH];
	struct stat st;
	int fd, rc;

	if (!path_join(path, r->dir, "data.mdb", NULL))
		return err_set(&r->err, ERR_INVALID, "%s: path too long", r->dir);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) < 0) {
		rc = err_errno(&r->err, errno, "%s", path);
		if (fd >= 0)
			close(fd);
		return rc;
	}
	rc = space_check(r->dir, (uint64_t)st.st_size, &r->err);
	if (rc == 0)
		rc = db_recover(fd, &r->rows, &r->err);
	close(fd);
	return rc;
}

static int end(struct recovery *r, const char *kept)
{
	const struct db_salvage *s = &r->rows.seen;
	unsigned long long lost = s->bad_rows + r->rows.refused;

	if (!r->is_store)
		return maint_end(r->m, ERR_NONE,
		    "%s: %llu rows recovered, %llu pages and %llu rows lost; the damaged file is "
		    "%s",
		    r->name, (unsigned long long)s->rows, (unsigned long long)s->bad_pages,
		    (unsigned long long)s->bad_rows, kept);
	return maint_end(r->m, ERR_NONE,
	    "%s: %llu messages recovered, %llu of them without their place (in \"%s\"); %llu "
	    "pages and %llu rows lost%s; the damaged file is %s",
	    r->name, (unsigned long long)r->seen.messages, (unsigned long long)r->rescue.rescued,
	    STORE_RESCUED, (unsigned long long)s->bad_pages, lost,
	    s->has_no_root ? ", and maybe the last change" : "", kept);
}

static int recover(struct recovery *r)
{
	char temp[BACKUP_PATH], kept[BACKUP_PATH], rest[64];
	bool is_damaged;
	int rc;

	snprintf(rest, sizeof(rest), "%s/env", r->name);
	if (config_state_path(r->m->cfg, rest, r->dir, &r->err) < 0 ||
	    !path_join(temp, r->dir, "recovered", NULL) || open_new(r, temp) < 0)
		return -1;
	r->rows = (struct db_recover){.to = r->env,
	    .is_taken = r->is_store ? store_row_is_taken : is_row,
	    .lost = on_lost,
	    .arg = r};
	rc = read_old(r);
	is_damaged = db_recover_is_damaged(&r->rows);
	if (rc == 0 && is_damaged && r->is_store)
		rc = look_at_store(r);
	db_env_close(r->env);
	if (rc == 0 && is_damaged)
		rc = swap(r, temp, kept);
	remove_new(temp);
	if (rc < 0)
		return -1;
	if (!is_damaged)
		return maint_end(r->m, ERR_NONE, "%s: no damage", r->name);
	return end(r, kept);
}

static int recover_current(struct maint *m)
{
	struct recovery r = {.m = m, .name = current, .is_store = strcmp(current, "store") == 0};

	return recover(&r) < 0 ? maint_fail(m, &r.err) : 0;
}

int verb_recover(struct maint *m)
{
	static const struct {
		const char *name;
		enum who who;
	} envs[] = {{"store", WHO_IMAP}, {"queue", WHO_LOCAL}, {"auth", WHO_AUTH}};
	char text[ARRAY_LEN(envs)][sizeof(m->text)];

	if (is_running(m))
		return maint_end(m, ERR_BUSY, "mailstead is running: stop it first");
	for (size_t i = 0; i < ARRAY_LEN(envs); i++) {
		current = envs[i].name;
		if (maint_run_as(m, envs[i].who, current, recover_current) < 0)
			return -1;
		memcpy(text[i], m->text, sizeof(text[i]));
		m->text[0] = '\0';
	}
	return maint_end(m, ERR_NONE, "%.380s; %.200s; %.200s", text[0], text[1], text[2]);
}
