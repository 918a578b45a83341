/*
 * Time. Deadlines and waits use the monotonic clock; what is written into mail or rows uses the
 * wall clock. For tests the wall clock of all processes can be moved: by the seconds in a file of 8
 * bytes that is named in the environment of whoever starts them (mailsteadctl clock writes it).
 */
#ifndef MS_EVENT_CLOCK_H
#define MS_EVENT_CLOCK_H

#include <stdint.h>

#define CLOCK_VARIABLE "MAILSTEAD_CLOCK"

uint64_t clock_mono_ms(void);
uint64_t clock_mono_us(void);
int64_t clock_now(void);    /* seconds since 1970 */
int64_t clock_now_us(void); /* microseconds since 1970 */

#endif
