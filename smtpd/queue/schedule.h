/* When a message to another server is tried, told about and given up. Pure functions. */
#ifndef MS_SMTPD_QUEUE_SCHEDULE_H
#define MS_SMTPD_QUEUE_SCHEDULE_H

#include "common/config/config.h"

#define SCHEDULE_STEPS_MAX 32
#define SCHEDULE_NULL_LIFE (2 * 86400) /* of mail without a sender: nobody waits for it */

struct schedule {
	int64_t steps[SCHEDULE_STEPS_MAX]; /* seconds from one try to the next; the last repeats */
	size_t count;
	int64_t life;   /* from arrival to giving up */
	int64_t notice; /* from arrival to telling the sender that it takes long; 0: never */
};

void schedule_of(const struct config *cfg, struct schedule *out);
/* Seconds to the next try, after tries were made (1 or more). The repeated step is moved by up to
 * a tenth, by chance: what failed together need not come back together. */
int64_t schedule_delay(const struct schedule *s, uint32_t tries, uint32_t chance);
/* Whether a message of this age is given up. */
bool schedule_is_over(const struct schedule *s, int64_t arrival, bool has_sender, int64_t now);

#endif
