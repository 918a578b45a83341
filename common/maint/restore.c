/*
 * restore FOLDER: everything, where nothing is yet. restore FOLDER ADDRESS [--mailbox=NAME]
 * [--uid=N] [--to=ADDRESS], restore FOLDER --all: into a running instance, what is not there
 * already.
 */
#include "common/maint/backup.h"

#include "common/base/mem.h"
#include "common/maint/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct restore {
	char generation[BACKUP_PATH];
	char blobs[BACKUP_PATH];
	uint64_t from, to; /* account numbers */
	struct span mailbox;
	uint64_t uid;
	int in, out;
};

static struct restore restore;

static int find(struct maint *m, const char *dir)
{
	char name[BACKUP_NAME_LEN + 1], parent[BACKUP_PATH];
	struct err err = ERR_INIT;

	if (generation_find(dir, maint_option(m, "--generation"), name, &err) < 0)
		return maint_fail(m, &err);
	if (!path_join(parent, dir, "generations", NULL) ||
	    !path_join(restore.generation, parent, name, NULL) ||
	    !path_join(restore.blobs, dir, "blob", "store"))
		return maint_end(m, ERR_INVALID, "%s: path too long", dir);
	return 0;
}

/* --- everything
 * --------------------------------------------------------------------------------------------- */
/* Several processes work on the store and on the queue; on accounts only authd. */
static int share(const char *name, const char *dir, struct err *err)
{
	bool is_shared = strcmp(name, "auth") != 0;
	char file[BACKUP_PATH];

	if (!path_join(file, dir, "data.mdb", NULL))
		return err_set(err, ERR_INVALID, "%s: path too long", dir);
	if (chmod(dir, is_shared ? 02770 : 0700) < 0 || chmod(file, is_shared ? 0660 : 0600) < 0)
		return err_errno(err, errno, "%s", file);
	return 0;
}

static int restore_env(struct maint *m, const char *name, struct err *err)
{
	char rest[64], to[CONFIG_PATH_MAX], from[BACKUP_PATH];
	struct db_env *env;
	int rc;

	if (config_state_path(m->cfg, name, to, err) < 0)
		return -1;
	if (mkdir(to, 02770) < 0 && errno != EEXIST)
		return err_errno(err, errno, "%s", to);
	snprintf(rest, sizeof(rest), "%s/env", name);
	if (config_state_path(m->cfg, rest, to, err) < 0 ||
	    !path_join(from, restore.generation, name, NULL) ||
	    env_open_at(from, (size_t)1 << 30, &env, err) < 0)
		return -1;
	rc = db_env_copy(env, to, err);
	db_env_close(env);
	return rc < 0 ? -1 : share(name, to, err);
}

struct cloning {
	struct blob_dir *from, *to;
	struct err *err;
};

static int clone(void *arg, const unsigned char id[BLOB_ID_LEN])
{
	struct cloning *c = arg;
	uint64_t n;

	return blob_clone(c->from, id, c->to, &n, c->err);
}

static int restore_blobs(struct maint *m, const char *dir, const char *name, struct err *err)
{
	char from[BACKUP_PATH], to[CONFIG_PATH_MAX], rest[64];
	struct cloning c = {.err = err};
	int rc = -1;

	snprintf(rest, sizeof(rest), "%s/blob", name);
	if (!path_join(from, dir, "blob", name) || config_state_path(m->cfg, rest, to, err) < 0)
		return -1;
	if (blob_dir_open(from, &c.from, err) == 0 && blob_dir_open(to, &c.to, err) == 0)
		rc = blob_each(c.from, clone, &c, err);
	blob_dir_close(c.from);
	blob_dir_close(c.to);
	return rc;
}

/* A folder that says that it is not whole yet, before anything else is in it. */
static int begin_state(const char *state, struct err *err)
{
	char marker[BACKUP_PATH];
	int fd, rc;

	if (!path_join(marker, state, STATE_RESTORING, NULL))
		return err_set(err, ERR_INVALID, "%s: path too long", state);
	if (mkdir(state, 0751) < 0 && errno != EEXIST)
		return err_errno(err, errno, "%s", state);
	fd = open(marker, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return err_errno(err, errno, "%s", marker);
	rc = syncfs(fd) == 0 ? 0 : err_errno(err, errno, "flushing %s", state);
	close(fd);
	return rc;
}

/* All that was written is durable before the marker goes. */
static int end_state(const char *state, struct err *err)
{
	int fd = open(state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = fd < 0 || syncfs(fd) < 0 || unlinkat(fd, STATE_RESTORING, 0) < 0 || fsync(fd) < 0
		     ? err_errno(err, errno, "flushing %s", state)
		     : 0;

	if (fd >= 0)
		close(fd);
	return rc;
}

/* To a name that says when it was the state; nothing is written over. */
static int set_aside(const char *path, const char *state, struct err *err)
{
	char aside[CONFIG_PATH_MAX + 32];

	for (unsigned i = 1; i < 1000; i++) {
		snprintf(aside, sizeof(aside), "%s.before-restore-%u", state, i);
		if (access(aside, F_OK) < 0)
			break;
	}
	return rename(path, aside) < 0 ? err_errno(err, errno, "%s", aside) : 0;
}

/* At every moment there is a state: the old one, or the new one that is marked. */
static int move_aside(const char *state, struct err *err)
{
	char next[CONFIG_PATH_MAX + 32], store[BACKUP_PATH];

	snprintf(next, sizeof(next), "%s.restoring", state);
	if (!path_join(store, next, "store", NULL))
		return err_set(err, ERR_INVALID, "%s: path too long", state);
	/* Cut off between the two names, a run leaves here what was the state before it. */
	if (access(store, F_OK) == 0 && set_aside(next, state, err) < 0)
		return -1;
	if (begin_state(next, err) < 0)
		return -1;
	if (renameat2(AT_FDCWD, next, AT_FDCWD, state, RENAME_EXCHANGE) < 0)
		return err_errno(err, errno, "moving %s aside", state);
	return set_aside(next, state, err);
}

/* What is there is moved aside with --force, never written over. */
static int make_room(struct maint *m, struct err *err)
{
	const char *state = config_str(m->cfg, SET_PATHS_STATE);
	char store[CONFIG_PATH_MAX];

	if (config_state_path(m->cfg, "store/env", store, err) < 0)
		return -1;
	if (access(store, F_OK) < 0)
		return begin_state(state, err);
	if (!maint_has(m, "--force"))
		return err_set(err, ERR_EXISTS,
		    "%s is there: nothing is overwritten; --force moves %s aside", store, state);
	return move_aside(state, err);
}

static int restore_all(struct maint *m, const char *dir, struct err *err)
{
	static const char *const envs[] = {"store", "queue", "auth"};
	static const char *const folders[] = {"conf", "keys"};
	char from[BACKUP_PATH], to[CONFIG_PATH_MAX];

	if (make_room(m, err) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(envs); i++)
		if (restore_env(m, envs[i], err) < 0)
			return -1;
	if (restore_blobs(m, dir, "store", err) < 0 || restore_blobs(m, dir, "queue", err) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(folders); i++)
		if (!path_join(from, restore.generation, "state", folders[i]) ||
		    config_state_path(m->cfg, folders[i], to, err) < 0 ||
		    tree_copy(from, to, err) < 0)
			return -1;
	/* What root wrote goes to its owners here: units start programs that could not take it. */
	if (m->ids.are_separate && folders_make(m->cfg, &m->ids, err) < 0)
		return -1;
	return end_state(config_str(m->cfg, SET_PATHS_STATE), err);
}

static int everything(struct maint *m, const char *dir)
{
	struct err err = ERR_INIT;

	/* Whoever answers now would go on with what it has in memory. */
	if (is_running(m))
		return maint_end(m, ERR_BUSY, "mailstead is running: stop it first");
	umask(007);
	if (restore_all(m, dir, &err) < 0)
		return maint_fail(m, &err);
	return maint_end(m, ERR_NONE,
	    "restored from %s; start mailstead, then mailsteadctl check --bodies",
	    restore.generation);
}

/* --- one account
 * ---------------------------------------------------------------------------------------------- */
/* The number that an address had, from the backup's list. */
static int old_number(struct maint *m, struct span address)
{
	char path[BACKUP_PATH], line[512];
	struct span rest, word;
	FILE *f = path_join(path, restore.generation, "accounts", NULL) ? fopen(path, "re") : NULL;

	if (!f)
		return maint_end(m, ERR_NOT_FOUND, "%s: %s", path, strerror(errno));
	while (restore.from == 0 && fgets(line, sizeof(line), f)) {
		rest = span_trim(span_of(line));
		if (span_split(&rest, ' ', &word) && span_ieq(rest, address))
			(void)span_u64(word, UINT64_MAX, &restore.from);
	}
	fclose(f);
	return restore.from
		   ? 0
		   : maint_end(m, ERR_NOT_FOUND, "%.*s is not in this backup", SPAN_FMT(address));
}

static int send_backup(struct maint *m)
{
	struct err err = ERR_INIT;
	struct files f = {NULL, NULL};
	char dir[BACKUP_PATH];
	int rc = -1;

	close(restore.in);
	if (path_join(dir, restore.generation, "store", NULL) &&
	    env_open_at(dir, config_u64(m->cfg, SET_STORE_MAP_SIZE), &f.env, &err) == 0 &&
	    blob_dir_open(restore.blobs, &f.blobs, &err) == 0)
		rc = store_send_from(
		    m, &f, restore.from, restore.mailbox, (uint32_t)restore.uid, restore.out, &err);
	files_close(&f);
	return rc < 0 ? maint_fail(m, &err) : 0;
}

static int take_backup(struct maint *m)
{
	uint64_t taken, skipped;

	close(restore.out);
	if (store_take(m, restore.to, restore.in, &taken, &skipped) < 0)
		return -1;
	return maint_end(m, ERR_NONE, "%llu messages restored, %llu were there",
	    (unsigned long long)taken, (unsigned long long)skipped);
}

static int one_account(struct maint *m, struct span address)
{
	struct span to = maint_option(m, "--to");
	struct span uid = maint_option(m, "--uid");
	int ends[2];

	restore.mailbox = maint_option(m, "--mailbox");
	if (uid.p && (restore.mailbox.n == 0 || !span_u64(uid, UINT32_MAX, &restore.uid)))
		return maint_end(m, ERR_INVALID, "--uid=N goes with --mailbox=NAME");
	if (old_number(m, address) < 0 || account_number(m, to.p ? to : address, &restore.to) < 0)
		return -1;
	if (pipe(ends) < 0)
		return maint_end(m, ERR_IO, "no pipe");
	restore.in = ends[0];
	restore.out = ends[1];
	return maint_run_both(
	    m, WHO_COUNT, send_backup, WHO_IMAP, take_backup, restore.in, restore.out);
}

/* --- the mail of all accounts
 * ---------------------------------------------------------------------------------------------- */
struct result {
	size_t good, bad;
};

/* What one account's part came to is a record; the others go on. */
static void tell_account(struct maint *m, struct span address, struct result *r)
{
	struct strbuf b;

	r->good += m->code == ERR_NONE;
	r->bad += m->code != ERR_NONE;
	strbuf_init(&b, 4096);
	ipc_rec_text(&b, "account", address);
	ipc_rec_number(&b, "restored", IPC_BOOL, m->code == ERR_NONE);
	ipc_rec_text(&b, "result", span_of(m->text));
	maint_record(&b);
	m->code = ERR_NONE;
	m->text[0] = '\0';
}

static int all_accounts(struct maint *m)
{
	char path[BACKUP_PATH], line[512];
	struct result r = {0, 0};
	struct span rest, word;
	FILE *f = path_join(path, restore.generation, "accounts", NULL) ? fopen(path, "re") : NULL;

	if (!f)
		return maint_end(m, ERR_NOT_FOUND, "%s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		rest = span_trim(span_of(line));
		restore.from = 0;
		if (!span_split(&rest, ' ', &word) || !span_u64(word, UINT64_MAX, &restore.from))
			continue;
		restore.from = 0;
		(void)one_account(m, rest);
		tell_account(m, rest, &r);
	}
	fclose(f);
	return maint_end(m, r.bad > 0 ? ERR_NOT_FOUND : ERR_NONE, "%zu accounts restored%s", r.good,
	    r.bad > 0 ? ", some were not: an account that was removed must be added first" : "");
}

int verb_restore(struct maint *m)
{
	const char *dir = maint_word(m, 1).p;
	struct span address = maint_word(m, 2);

	if (maint_has(m, "--list"))
		return backup_list(m, dir);
	if (maint_has(m, "--all") && (address.n > 0 || maint_has(m, "--force")))
		return maint_end(m, ERR_INVALID, "--all stands alone: FOLDER --all");

	/* Whoever says a part must not get everything. */
	if (address.n == 0 && (maint_option(m, "--mailbox").p || maint_option(m, "--uid").p ||
				  maint_option(m, "--to").p))
		return maint_end(
		    m, ERR_INVALID, "--mailbox, --uid and --to go with an address: FOLDER ADDRESS");
	if (find(m, dir) < 0)
		return -1;
	if (maint_has(m, "--all"))
		return all_accounts(m);
	return address.n > 0 ? one_account(m, address) : everything(m, dir);
}
