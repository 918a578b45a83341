/* Looks every few seconds, off the loop, whether the queue's disk has room for more mail. */
#include "smtpd/receive/receive.h"

#include "common/base/mem.h"
#include "common/log/log.h"

#include <sys/statvfs.h>

#define SPACE_MS 3000
#define INODES_MIN 1000
#define SHARE_MAX ((uint64_t)1 << 30)

/* Room for a message and a half, a twentieth of the disk (at most 1 GiB), and what is set; 0 if
 * that is 0. */
static uint64_t floor_of(const struct config *cfg, const struct statvfs *fs)
{
	uint64_t floor = config_u64(cfg, SET_QUEUE_SPACE_MIN);
	uint64_t message = config_u64(cfg, SET_SMTP_MESSAGE_MAX) / 2 * 3;
	uint64_t share = (uint64_t)fs->f_blocks * fs->f_frsize / 20;

	if (floor == 0)
		return 0;
	if (share > SHARE_MAX)
		share = SHARE_MAX;
	if (floor < message)
		floor = message;
	return floor < share ? share : floor;
}

/* Free pages of the queue's file are room too. */
static uint64_t free_in_queue(struct receive *p)
{
	struct db_stat st;

	return db_env_stat(queue_env(p->queue), &st, NULL) == 0 ? st.free_pages * st.page_size : 0;
}

static void space_run(struct work *w)
{
	struct receive *p = container_of(w, struct receive, space_work);
	struct statvfs fs;
	char path[CONFIG_PATH_MAX];
	uint64_t floor, room;

	p->has_space = true;
	if (config_state_path(p->space_cfg, "queue", path, NULL) < 0 || statvfs(path, &fs) < 0)
		return;
	floor = floor_of(p->space_cfg, &fs);
	room = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (room < floor)
		room += free_in_queue(p);
	/* Some file systems count no inodes. */
	p->has_space =
	    room >= floor && (floor == 0 || fs.f_files == 0 || fs.f_favail >= INODES_MIN);
}

static void space_done(struct work *w)
{
	struct receive *p = container_of(w, struct receive, space_work);

	config_unref(p->space_cfg);
	p->space_cfg = NULL;
	if (p->is_low_on_space == p->has_space)
		log_warning("space", LOG_STR("state", p->has_space ? "enough" : "low"));
	p->is_low_on_space = !p->has_space;
	if (!p->role->is_draining)
		timer_set(&p->space_timer, SPACE_MS);
}

static void space_look(void *arg)
{
	struct receive *p = arg;

	p->space_cfg = config_ref(p->role->cfg);
	p->space_work.run = space_run;
	p->space_work.done = space_done;
	workers_submit(queue_workers(p->queue), &p->space_work);
}

void space_start(struct receive *p)
{
	timer_init(&p->space_timer, p->role->loop, space_look, p);
	space_look(p);
}

void space_stop(struct receive *p)
{
	timer_clear(&p->space_timer);
}
