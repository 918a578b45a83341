/* IDLE (RFC 2177): news as it happens. */
#include "common/base/mem.h"
#include "common/event/clock.h"
#include "imapd/imap.h"

#define LOOK_MS 30000
#define STILL_HERE_MS                                                                              \
	120000 /* address translators forget a silent connection after some minutes                \
		*/

static void idle_refreshed(struct refresh *r);

/* Waits for news, unless there is some already. */
static void idle_wait(struct session *s)
{
	s->spoke_at = clock_mono_ms();
	if (s->view && s->view->mbox->is_gone) {
		session_bye(s, "The selected mailbox was deleted");
		return;
	}
	if (s->view && !mbox_is_current(s->view->mbox)) {
		s->wait = WAIT_RESULT;
		mbox_refresh(s->view->mbox, &s->refresh, idle_refreshed);
		return;
	}
	s->wait = WAIT_IDLE;
	conn_resume(s->conn);
	loop_defer(s->server->role->loop, &s->turn_end);
}

static void idle_told(struct session *s)
{
	/* A mailbox that cannot be loaded is not asked for again and again. */
	if (s->view->mbox->err.code == ERR_NONE) {
		idle_wait(s);
		return;
	}
	s->spoke_at = clock_mono_ms();
	s->wait = WAIT_IDLE;
	conn_resume(s->conn);
}

static void idle_refreshed(struct refresh *r)
{
	struct session *s = container_of(r, struct session, refresh);

	view_sync(s, true, idle_told);
}

void idle_news(struct session *s)
{
	if (s->wait != WAIT_IDLE || s->is_closing || !s->line_is_over)
		return;
	if (s->view->mbox->is_gone) {
		session_bye(s, "The selected mailbox was deleted");
		return;
	}
	if (s->view->snap == s->view->mbox->latest)
		return;
	s->wait = WAIT_RESULT;
	view_sync(s, true, idle_told);
	if (s->wait == WAIT_OUTPUT)
		conn_pause(s->conn);
}

void cmd_idle(struct session *s, struct parser *p)
{
	conn_write(s->conn, SPAN("+ idling\r\n"));
	if (!s->view || s->view->snap == s->view->mbox->latest)
		idle_wait(s);
	else
		view_sync(s, true, idle_told);
}

void idle_line(struct session *s, struct span line)
{
	if (span_ieq(line, SPAN("DONE")))
		finish_sync(s, true, "OK Idle ended");
	else
		finish_bad(s, "DONE expected");
}

static void still_here(void *arg)
{
	struct imapd *p = arg;
	uint64_t now = clock_mono_ms();

	LIST_EACH (it, &p->sessions) {
		struct session *s = container_of(it, struct session, link);

		if (s->wait == WAIT_IDLE && !s->is_closing && now - s->spoke_at >= STILL_HERE_MS) {
			s->spoke_at = now;
			untagged(s, "OK Still here");
		}
	}
	timer_set(&p->still_here, LOOK_MS);
}

void idle_start(struct imapd *p)
{
	timer_init(&p->still_here, p->role->loop, still_here, p);
	timer_set(&p->still_here, LOOK_MS);
}
