/*
 * Those who deliver are told of what has come. One commit brings many messages, and the socket of
 * hints holds only a few: so several are one hint, without a queue id, and one that was lost is
 * sent again in a moment. Otherwise they would be found a second later.
 */
#include "smtpd/receive/receive.h"

#include "common/base/codec.h"
#include "common/base/mem.h"
#include "common/ipc/ipc.h"

#include <unistd.h>

#define AGAIN_MS 2 /* doubled each time, up to: */
#define AGAIN_MAX_MS 500

static void send_all(void *arg)
{
	struct receive *p = arg;
	bool is_lost = false;

	for (size_t i = 0; i < ARRAY_LEN(p->hints); i++) {
		struct hints *h = &p->hints[i];
		unsigned char hint[QUEUE_HINT_LEN];

		be_put64(hint, h->count == 1 ? h->qid : 0);
		if (h->count == 0)
			continue;
		if (hint_send(p->hint_fd, h->path, span_make(hint, sizeof(hint))))
			h->count = 0;
		else
			is_lost = true;
	}
	if (!is_lost) {
		p->hint_wait = 0;
		return;
	}
	p->hint_wait = p->hint_wait == 0 ? AGAIN_MS : 2 * p->hint_wait;
	if (p->hint_wait > AGAIN_MAX_MS)
		p->hint_wait = AGAIN_MAX_MS;
	timer_set(&p->hint_timer, p->hint_wait);
}

void tell(struct receive *p, enum queue_class class, uint64_t qid)
{
	struct hints *h = &p->hints[class == QUEUE_REMOTE];

	if (h->count == 0 || h->qid != qid)
		h->count++;
	h->qid = qid;
	if (!timer_is_set(&p->hint_timer))
		loop_defer(p->role->loop, &p->hint_step);
}

int tell_start(struct receive *p, struct err *err)
{
	p->hint_fd = hint_socket();
	p->hint_step = (struct deferred){.fn = send_all, .arg = p};
	timer_init(&p->hint_timer, p->role->loop, send_all, p);
	if (config_run_path(p->role->cfg, RUN_QUEUE_HINT, p->hints[0].path, err) < 0)
		return -1;
	return config_run_path(p->role->cfg, RUN_SEND_HINT, p->hints[1].path, err);
}

void tell_stop(struct receive *p)
{
	deferred_cancel(&p->hint_step);
	timer_clear(&p->hint_timer);
	if (p->hint_fd >= 0)
		close(p->hint_fd);
}
