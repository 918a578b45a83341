#include "common/daemon/identity.h"

#include "common/base/mem.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const users[WHO_COUNT] = {
    [WHO_AUTH] = "mailstead-auth",
    [WHO_KEY] = "mailstead-key",
    [WHO_IN] = "mailstead-in",
    [WHO_OUT] = "mailstead-out",
    [WHO_LOCAL] = "mailstead-local",
    [WHO_IMAP] = "mailstead-imap",
    [WHO_POP3] = "mailstead-pop3",
    [WHO_WEB] = "mailstead-web",
    [WHO_ACME] = "mailstead-acme",
    [WHO_FETCH] = "mailstead-fetch",
};
static const char *const groups[] = {"mailstead", "mailstead-queue", "mailstead-store"};

const char *who_user(enum who w)
{
	return users[w];
}

static size_t read_users(struct identities *ids)
{
	FILE *f = fopen("/etc/passwd", "re");
	const struct passwd *pw;
	size_t found = 0;

	if (!f)
		return 0;
	while ((pw = fgetpwent(f))) {
		for (int w = 0; w < WHO_COUNT; w++) {
			if (strcmp(pw->pw_name, users[w]) != 0 || ids->who[w].uid != 0)
				continue;
			ids->who[w].uid = pw->pw_uid;
			ids->who[w].gid = pw->pw_gid;
			found += pw->pw_uid != 0;
		}
	}
	fclose(f);
	return found;
}

static size_t read_groups(gid_t gids[ARRAY_LEN(groups)])
{
	FILE *f = fopen("/etc/group", "re");
	const struct group *gr;
	size_t found = 0;

	if (!f)
		return 0;
	while ((gr = fgetgrent(f))) {
		for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
			if (strcmp(gr->gr_name, groups[i]) != 0 || gids[i] != 0)
				continue;
			gids[i] = gr->gr_gid;
			found += gr->gr_gid != 0;
		}
	}
	fclose(f);
	return found;
}

static void number(struct identities *ids, gid_t gids[ARRAY_LEN(groups)], unsigned base)
{
	for (unsigned w = 0; w < WHO_COUNT; w++)
		ids->who[w] = (struct identity){.uid = base + w, .gid = base + w};
	for (unsigned i = 0; i < ARRAY_LEN(groups); i++)
		gids[i] = base + WHO_COUNT + i;
}

static void add_group(struct identity *who, gid_t gid)
{
	who->groups[who->group_count++] = gid;
}

static void join_groups(struct identities *ids)
{
	struct identity *who = ids->who;

	for (int w = 0; w < WHO_COUNT; w++)
		if (w != WHO_WEB && w != WHO_ACME && w != WHO_FETCH)
			add_group(&who[w], ids->all);
	/* authd gives its web.sock to this group, which it must belong to for that. */
	add_group(&who[WHO_AUTH], who[WHO_WEB].gid);
	add_group(&who[WHO_IN], ids->queue);
	add_group(&who[WHO_OUT], ids->queue);
	add_group(&who[WHO_LOCAL], ids->queue);
	add_group(&who[WHO_LOCAL], ids->store);
	add_group(&who[WHO_IMAP], ids->store);
	add_group(&who[WHO_POP3], ids->store);
}

void identities_find(const struct config *cfg, struct identities *out, struct err *why)
{
	unsigned base = (unsigned)config_u64(cfg, SET_PROCESS_UID_BASE);
	gid_t gids[ARRAY_LEN(groups)] = {0};

	*out = (struct identities){0};
	if (base > 0) {
		number(out, gids, base);
	} else if (read_users(out) < WHO_COUNT || read_groups(gids) < ARRAY_LEN(groups)) {
		*out = (struct identities){0};
		err_set(
		    why, ERR_NOT_FOUND, "the users %s ... and their groups do not exist", users[0]);
		return;
	}
	out->are_known = true;
	out->are_separate = geteuid() == 0;
	if (!out->are_separate)
		err_set(why, ERR_DENIED, "not started as root");
	out->all = gids[0];
	out->queue = gids[1];
	out->store = gids[2];
	join_groups(out);
}

int identity_become(const struct identity *who, struct err *err)
{
	if (setgroups(who->group_count, who->groups) < 0 ||
	    setresgid(who->gid, who->gid, who->gid) < 0 ||
	    setresuid(who->uid, who->uid, who->uid) < 0)
		return err_errno(err, errno, "becoming uid %u", (unsigned)who->uid);
	/* What must not work any more is tried, not believed. */
	if (who->uid != 0 && (setuid(0) == 0 || setgid(0) == 0))
		return err_set(err, ERR_DENIED, "uid %u can still become root", (unsigned)who->uid);
	return 0;
}

/* --- capabilities ------------------------------------------------------------------------------
 */
#define CAP_BIT(c) ((uint64_t)1 << (c))

static int set_caps(uint64_t keep, struct err *err)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &head, data) < 0)
		return err_errno(err, errno, "capget");
	for (unsigned i = 0; i < 2; i++) {
		data[i].permitted &= (uint32_t)(keep >> (32 * i));
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	/* The bounding set first: that takes a capability that goes with the rest. */
	for (int c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
		if (!(keep & CAP_BIT(c)))
			(void)prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &head, data) < 0)
		return err_errno(err, errno, "capset");
	return 0;
}

int caps_keep_launcher(struct err *err)
{
	return set_caps(CAP_BIT(CAP_NET_BIND_SERVICE) | CAP_BIT(CAP_SETUID) | CAP_BIT(CAP_SETGID) |
			    CAP_BIT(CAP_KILL),
	    err);
}

int caps_keep_maint(struct err *err)
{
	return set_caps(CAP_BIT(CAP_DAC_OVERRIDE) | CAP_BIT(CAP_SETUID) | CAP_BIT(CAP_SETGID) |
			    CAP_BIT(CAP_KILL),
	    err);
}

int caps_keep_first(struct err *err)
{
	return set_caps(CAP_BIT(CAP_NET_BIND_SERVICE) | CAP_BIT(CAP_DAC_OVERRIDE) |
			    CAP_BIT(CAP_SETPCAP) | CAP_BIT(CAP_SETUID) | CAP_BIT(CAP_SETGID) |
			    CAP_BIT(CAP_KILL),
	    err);
}

int caps_drop_all(struct err *err)
{
	return set_caps(0, err);
}
