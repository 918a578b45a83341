/* settings.conf, written so that a power cut leaves the old or the new file, whole. */
#ifndef MS_AUTHD_SETTINGS_H
#define MS_AUTHD_SETTINGS_H

#include "common/authd/call.h"

int settings_write(const char *dir, struct span text, struct err *err); /* worker thread */
void settings_drop(void *arg);

#endif
