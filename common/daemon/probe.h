/*
 * For tests: attempts to break out, made by the process itself once it serves. The verb "probe" of
 * the control socket exists only if MAILSTEAD_PROBE=1 was in the environment at the start.
 */
#ifndef MS_DAEMON_PROBE_H
#define MS_DAEMON_PROBE_H

#include "common/daemon/answer.h"
#include "common/ipc/msg.h"

#include <stdbool.h>

bool probe_is_on(void);
/* Ends rq with the name of the error the attempt met, or "ok"; some attempts are not survived. */
void probe_run(const struct ipc_admin *cmd, const struct admin_request *rq);

#endif
