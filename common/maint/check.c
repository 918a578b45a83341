/* check [--repair] [--bodies]: is everything there that should be? */
#include "common/maint/maint.h"

#include "common/store/check.h"

static void on_progress(void *arg, uint64_t done, uint64_t all)
{
	maint_progress(
	    "reading bodies: %llu of %llu", (unsigned long long)done, (unsigned long long)all);
}

static int check_store(struct maint *m)
{
	struct store_check c = {.repair = maint_has(m, "--repair"),
	    .bodies = maint_has(m, "--bodies"),
	    .report = maint_damage,
	    .progress = on_progress};
	struct err err = ERR_INIT;
	struct files f;
	int rc;

	if (files_open(m, "store", &f, &err) < 0)
		return maint_fail(m, &err);
	rc = store_check_run(f.env, f.blobs, &c, &err);
	files_close(&f);
	if (rc < 0)
		return maint_fail(m, &err);
	if (c.damaged > c.repaired)
		return maint_end(m, ERR_CORRUPT, "%llu damages, %llu repaired%s",
		    (unsigned long long)c.damaged, (unsigned long long)c.repaired,
		    c.repair ? "" : "; --repair mends what can be mended");
	return maint_end(m, ERR_NONE,
	    "%llu accounts, %llu mailboxes, %llu messages, %llu objects, %llu files, %llu bodies "
	    "read: all well%s",
	    (unsigned long long)c.accounts, (unsigned long long)c.mailboxes,
	    (unsigned long long)c.messages, (unsigned long long)c.objects,
	    (unsigned long long)c.files, (unsigned long long)c.bodies_read,
	    c.repaired ? " now" : "");
}

int verb_check(struct maint *m)
{
	return maint_run_as(m, WHO_IMAP, "the mail store", check_store);
}
