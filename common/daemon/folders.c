/* The folders of the appliance, made by whoever starts it. */
#include "common/daemon/identity.h"

#include "common/base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 8

#define WHO_ROOT WHO_COUNT /* whoever starts us: the monitors' */

/* group: a user's own, or one that several share. */
enum share { OWN, ALL, QUEUE, STORE };

struct folder {
	const char *path;
	unsigned who;
	enum share share;
	mode_t mode;
};

/* Environments are made by the processes that own them, never by root. Folders that several write
 * to pass their group on. */
static const struct folder state_folders[] = {
    {"auth", WHO_AUTH, OWN, 0700},
    {"conf", WHO_AUTH, OWN, 0755},
    {"keys", WHO_KEY, OWN, 0700},
    {"queue", WHO_LOCAL, QUEUE, 02770},
    {"store", WHO_LOCAL, STORE, 02770},
    {"acme", WHO_ROOT, ALL, 0711},
    {"acme/client", WHO_ACME, OWN, 0755},
};
/* A socket in them takes their group; who may do what is decided by the peer's uid. */
static const struct folder run_folders[] = {
    {"authd", WHO_AUTH, ALL, 02711},
    {"keyd", WHO_KEY, ALL, 02711},
    {"smtpd-receive", WHO_IN, ALL, 02711},
    {"smtpd-send", WHO_OUT, ALL, 02711},
    {"smtpd-fetch", WHO_FETCH, ALL, 02711},
    {"smtpd-local", WHO_LOCAL, ALL, 02711},
    {"imapd-worker", WHO_IMAP, ALL, 02711},
    {"pop3d-worker", WHO_POP3, ALL, 02711},
    {"smtpd", WHO_ROOT, ALL, 02711},
    {"imapd", WHO_ROOT, ALL, 02711},
    {"pop3d", WHO_ROOT, ALL, 02711},
    {"web-worker", WHO_WEB, ALL, 02711},
    {"web-server", WHO_ROOT, ALL, 02711},
    {"maint", WHO_ROOT, ALL, 02711},
    {"acme", WHO_ROOT, ALL, 02711},
    {"acme/challenge", WHO_ACME, OWN, 0755},
};

/* What lies in a folder that root made goes to its owner with it. Links are not followed. */
static int hand_over(int dir, uid_t uid, gid_t gid, int depth)
{
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *e;
	int result = 0;

	if (!d)
		return -1;
	while (result == 0 && (e = readdir(d))) {
		struct stat st;
		int fd;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		fd = openat(dir, e->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (fd < 0)
			continue; /* a link, a socket */
		if (fstat(fd, &st) < 0)
			result = -1;
		/* A second name of a file is a way to be given what lies elsewhere. */
		if (result == 0 && !S_ISDIR(st.st_mode) &&
		    (!S_ISREG(st.st_mode) || st.st_nlink != 1)) {
			close(fd);
			continue;
		}
		if (result < 0 || fchown(fd, uid, gid) < 0)
			result = -1;
		else if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX)
			result = hand_over(fd, uid, gid, depth + 1);
		/* chown takes the bit that passes the group on. */
		if (result == 0 && fchmod(fd, st.st_mode & 07777) < 0)
			result = -1;
		close(fd);
	}
	closedir(d);
	return result;
}

/* The folder, made if it is missing, then its owner and mode. What is no folder, or a stranger's,
 * is refused. */
static int make_folder(const char *path, uid_t uid, gid_t gid, mode_t mode, struct err *err)
{
	struct stat st;
	int result = -1;
	int fd;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_errno(err, errno, "%s", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_errno(err, errno, "%s", path);
	if (fstat(fd, &st) < 0)
		err_errno(err, errno, "%s", path);
	else if (st.st_uid != uid && st.st_uid != geteuid())
		err_set(err, ERR_DENIED, "%s: belongs to uid %u, expected %u", path,
		    (unsigned)st.st_uid, (unsigned)uid);
	else if (st.st_uid != uid && hand_over(fd, uid, gid, 0) < 0)
		err_errno(err, errno, "%s: giving it to uid %u", path, (unsigned)uid);
	else if ((st.st_uid != uid || st.st_gid != gid) && fchown(fd, uid, gid) < 0)
		err_errno(err, errno, "%s: giving it to uid %u", path, (unsigned)uid);
	else if (fchmod(fd, mode) < 0)
		err_errno(err, errno, "%s", path);
	else
		result = 0;
	close(fd);
	return result;
}

static gid_t group_of(const struct identities *ids, const struct folder *f)
{
	switch (f->share) {
	case ALL:
		return ids->all;
	case QUEUE:
		return ids->queue;
	case STORE:
		return ids->store;
	default:
		return ids->who[f->who].gid;
	}
}

typedef int path_fn(
    const struct config *c, const char *name, char out[CONFIG_PATH_MAX], struct err *err);

static int make_all(const struct config *cfg, const struct identities *ids, path_fn *path_of,
    const struct folder *list, size_t n, struct err *err)
{
	char path[CONFIG_PATH_MAX];

	for (size_t i = 0; i < n; i++) {
		bool is_ours = !ids->are_separate || list[i].who == WHO_ROOT;
		uid_t uid = is_ours ? geteuid() : ids->who[list[i].who].uid;
		gid_t gid = ids->are_separate ? group_of(ids, &list[i]) : getegid();

		if (path_of(cfg, list[i].path, path, err) < 0 ||
		    make_folder(path, uid, gid, list[i].mode, err) < 0)
			return -1;
	}
	return 0;
}

/* The names in a folder are durable: a power cut must not take a database away with its folder. */
static int flush_names(const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int result = fd < 0 || fsync(fd) < 0 ? err_errno(err, errno, "flushing %s", path) : 0;

	if (fd >= 0)
		close(fd);
	return result;
}

int folders_make(const struct config *cfg, const struct identities *ids, struct err *err)
{
	mode_t mode = ids->are_separate ? 0711 : 0750;

	if (make_folder(config_str(cfg, SET_PATHS_STATE), geteuid(), getegid(), mode, err) < 0 ||
	    make_folder(config_str(cfg, SET_PATHS_RUN), geteuid(), getegid(), mode, err) < 0 ||
	    make_all(cfg, ids, config_state_path, state_folders, ARRAY_LEN(state_folders), err) <
		0 ||
	    flush_names(config_str(cfg, SET_PATHS_STATE), err) < 0)
		return -1;
	return make_all(cfg, ids, config_run_path, run_folders, ARRAY_LEN(run_folders), err);
}

int folders_make_state(const struct config *cfg, const char *name, struct err *err)
{
	char path[CONFIG_PATH_MAX];

	for (size_t i = 0; i < ARRAY_LEN(state_folders); i++) {
		if (strcmp(state_folders[i].path, name) != 0)
			continue;
		if (config_state_path(cfg, name, path, err) < 0)
			return -1;
		if (mkdir(path, 0700) < 0)
			return errno == EEXIST ? 0 : err_errno(err, errno, "%s", path);
		/* By path: the umask must not take away what others need. */
		if (chmod(path, state_folders[i].mode) < 0)
			return err_errno(err, errno, "%s", path);
		return flush_names(config_str(cfg, SET_PATHS_STATE), err);
	}
	fatal("no state folder %s", name);
}
