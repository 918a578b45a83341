/* compact: the databases rewritten without their free pages, while nothing runs. */
#include "common/maint/backup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *current;
static uint64_t before, after;

static int measure(const char *file, uint64_t *size, struct err *err)
{
	struct stat st;

	if (stat(file, &st) < 0)
		return err_errno(err, errno, "%s", file);
	*size = (uint64_t)st.st_size;
	return 0;
}

/* The copy beside the old file, then in its place: a crash leaves the one or the other. */
static int compact_env(struct maint *m, const char *name, struct err *err)
{
	char dir[CONFIG_PATH_MAX], rest[64], temp[BACKUP_PATH], from[BACKUP_PATH], to[BACKUP_PATH];
	struct files f;
	uint64_t size = 0;
	int rc;

	snprintf(rest, sizeof(rest), "%s/env", name);
	if (config_state_path(m->cfg, rest, dir, err) < 0 ||
	    !path_join(to, dir, "data.mdb", NULL) || !path_join(temp, dir, "compact", NULL) ||
	    !path_join(from, temp, "data.mdb", NULL) || measure(to, &size, err) < 0)
		return -1;
	if (space_check(dir, size, err) < 0)
		return -1;
	(void)unlink(from); /* of a run that was cut off */
	if (files_open(m, name, &f, err) < 0)
		return -1;
	rc = db_env_copy(f.env, temp, err);
	files_close(&f);
	before += size;
	if (rc < 0 || measure(from, &size, err) < 0)
		return -1;
	after += size;
	if (chmod(from, 0660) < 0 || rename(from, to) < 0 || rmdir(temp) < 0)
		return err_errno(err, errno, "%s", to);
	return 0;
}

static int compact_current(struct maint *m)
{
	struct err err = ERR_INIT;

	if (compact_env(m, current, &err) < 0)
		return maint_fail(m, &err);
	return maint_end(m, ERR_NONE, "%s: %llu KB, now %llu KB", current,
	    (unsigned long long)(before >> 10), (unsigned long long)(after >> 10));
}

int verb_compact(struct maint *m)
{
	char store[sizeof(m->text)], queue[sizeof(m->text)];
	int rc;

	if (is_running(m))
		return maint_end(m, ERR_BUSY,
		    "mailstead is running: its databases can be compacted while it is stopped");
	current = "store";
	rc = maint_run_as(m, WHO_IMAP, "the mail store", compact_current);
	if (rc < 0)
		return rc;
	memcpy(store, m->text, sizeof(store));
	current = "queue";
	if (maint_run_as(m, WHO_LOCAL, "the queue", compact_current) < 0)
		return -1;
	memcpy(queue, m->text, sizeof(queue));
	return maint_end(m, ERR_NONE, "%.180s; %.180s", store, queue);
}
