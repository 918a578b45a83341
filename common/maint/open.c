#include "common/db/format.h"
#include "common/maint/maint.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int setting(const char *name, enum setting *map)
{
	if (strcmp(name, "queue") == 0)
		*map = SET_QUEUE_MAP_SIZE;
	else if (strcmp(name, "auth") == 0)
		*map = SET_AUTH_MAP_SIZE;
	else
		*map = SET_STORE_MAP_SIZE;
	return 0;
}

int files_open(struct maint *m, const char *name, struct files *f, struct err *err)
{
	char rest[64], dir[CONFIG_PATH_MAX], file[CONFIG_PATH_MAX + 16];
	struct db_options opt = {.dir = dir, .format = db_format_of(name)};
	enum setting map;

	*f = (struct files){NULL, NULL};
	setting(name, &map);
	opt.map_size = opt.map_max = config_u64(m->cfg, map);
	snprintf(rest, sizeof(rest), "%s/env", name);
	if (config_state_path(m->cfg, rest, dir, err) < 0)
		return -1;
	snprintf(file, sizeof(file), "%s/data.mdb", dir);
	/* Only what is there is looked at: nothing is made by looking. */
	if (access(file, F_OK) < 0)
		return err_errno(err, errno, "%s", file);
	if (db_env_open(&opt, &f->env, err) < 0)
		return -1;
	if (strcmp(name, "auth") == 0)
		return 0;
	snprintf(rest, sizeof(rest), "%s/blob", name);
	if (config_state_path(m->cfg, rest, dir, err) == 0 &&
	    blob_dir_open(dir, &f->blobs, err) == 0)
		return 0;
	files_close(f);
	return -1;
}

void files_close(struct files *f)
{
	blob_dir_close(f->blobs);
	db_env_close(f->env);
	*f = (struct files){NULL, NULL};
}
