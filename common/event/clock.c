#include "common/event/clock.h"

#include <time.h>

static uint64_t read_clock_us(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

uint64_t clock_mono_us(void)
{
	return read_clock_us(CLOCK_MONOTONIC);
}

uint64_t clock_mono_ms(void)
{
	return clock_mono_us() / 1000u;
}

int64_t clock_now_us(void)
{
	return (int64_t)read_clock_us(CLOCK_REALTIME);
}

int64_t clock_now(void)
{
	return clock_now_us() / 1000000;
}
