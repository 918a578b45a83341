/*
 * Time. Deadlines and waits use the monotonic clock; what is written into mail or rows uses the
 * wall clock. In test builds (MS_TEST_CLOCK) the wall clock can be moved by the admin plane.
 */
#ifndef MS_EVENT_CLOCK_H
#define MS_EVENT_CLOCK_H

#include <stdint.h>

uint64_t clock_mono_ms(void);
uint64_t clock_mono_us(void);
int64_t clock_now(void);    /* seconds since 1970 */
int64_t clock_now_us(void); /* microseconds since 1970 */

#endif
