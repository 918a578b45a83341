/* What every process of the appliance does first. */
#ifndef MS_DAEMON_PROCESS_H
#define MS_DAEMON_PROCESS_H

#include "common/config/config.h"
#include "common/event/loop.h"

#define EXIT_CONFIG 1
#define EXIT_USAGE 2
#define EXIT_STORE 74
#define EXIT_AGAIN 75

/* No core file with mail or keys in it, no new rights through execve, files for its group only,
 * many descriptors; it ends (SIGTERM) with who started it, if that was one of us. */
void process_settle(void);
/* The end of the link to who started us: MS_LINK says that it is there. -1: it is not. The variable
 * is gone then, so that nobody we start takes it for its own. */
int process_link_fd(void);
/* Tells who started us (at that end, which is closed then; -1: nobody) and systemd that we serve.
 * For programs that are no role. */
void process_say_ready(int link);
/* <run>/<name>, the process' own folder for its sockets; as root the launcher made it. */
int process_make_run_folder(const struct config *cfg, const char *name, struct err *err);
void process_apply_log_level(const struct config *cfg);
/* Gives back to the system what malloc keeps of busier times: soon, then once a minute. The timer
 * is the caller's to clear. */
void process_trim(struct loop *loop, struct timer *t);

#endif
