/* Settings without a command: SIGHUP. */
#ifndef MS_AUTHD_SETTINGS_H
#define MS_AUTHD_SETTINGS_H

#include "common/authd/authd.h"

/* The files as they are now, in every process; the log says how it went. It waits for its turn. */
void settings_hangup(struct authd *a);

#endif
