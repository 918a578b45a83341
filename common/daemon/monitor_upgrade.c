/* The monitor's part of an upgrade: what it hands to the program that it becomes. */
#include "common/daemon/monitor_int.h"

#include "common/daemon/notify.h"
#include "common/log/log.h"

#include <stdlib.h>

int monitor_upgrade_check(struct monitor *m, struct err *err)
{
	if (m->is_stopping || m->change || m->led)
		return err_set(err, ERR_BUSY, "%s: %s", m->spec->name,
		    m->is_stopping ? "shutting down" : "a change is on its way, try again");
	return upgrade_check(m->argv, err);
}

static void add_sockets(struct upgrade *u, const struct plan *p)
{
	for (size_t i = 0; i < p->port_count; i++)
		for (size_t k = 0; k < 2; k++)
			if (p->ports[i]->fds[k] >= 0)
				upgrade_add_socket(u, p->ports[i]->fds[k]);
}

int monitor_upgrade(struct monitor *m, struct err *err)
{
	struct upgrade *u;

	if (monitor_upgrade_check(m, err) < 0)
		return -1;
	u = upgrade_new();
	add_sockets(u, &m->plan);
	if (supervisor_hand_on(m->supervisor, u, err) < 0 ||
	    (m->parent && !ipc_link_is_idle(m->parent) &&
		err_set(err, ERR_BUSY, "%s: busy, try again", m->spec->name) < 0)) {
		upgrade_free(u);
		return -1;
	}
	log_info("upgrade", LOG_STR("program", m->argv[0]));
	if (m->drains_old)
		setenv(MONITOR_DRAIN, "1", 1);
	setenv(MONITOR_CONFINED, "1", 1);
	notify_close();
	(void)upgrade_exec(u, m->argv, m->parent ? ipc_link_fd(m->parent) : -1, err);
	notify_open(m->loop);
	unsetenv(MONITOR_DRAIN);
	unsetenv(MONITOR_CONFINED);
	return -1;
}
