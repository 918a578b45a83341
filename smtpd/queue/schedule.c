#include "smtpd/queue/schedule.h"

void schedule_of(const struct config *cfg, struct schedule *out)
{
	struct span list = span_of(config_str(cfg, SET_RETRY_SCHEDULE));
	struct span word;

	*out = (struct schedule){
	    .life = (int64_t)config_u64(cfg, SET_RETRY_LIFETIME),
	    .notice = (int64_t)config_u64(cfg, SET_RETRY_NOTICE),
	};
	while (out->count < SCHEDULE_STEPS_MAX && config_list_next(&list, &word)) {
		uint64_t seconds;

		if (config_seconds(word, &seconds))
			out->steps[out->count++] = seconds > 0 ? (int64_t)seconds : 1;
	}
	if (out->count == 0)
		out->steps[out->count++] = 3600;
}

int64_t schedule_delay(const struct schedule *s, uint32_t tries, uint32_t chance)
{
	size_t i = tries > 0 ? tries - 1 : 0;
	int64_t step, spread;

	if (i < s->count - 1)
		return s->steps[i];
	step = s->steps[s->count - 1];
	spread = step / 10;
	return step - spread + (int64_t)(chance % (uint64_t)(2 * spread + 1));
}

bool schedule_is_over(const struct schedule *s, int64_t arrival, bool has_sender, int64_t now)
{
	int64_t life = s->life;

	if (!has_sender && life > SCHEDULE_NULL_LIFE)
		life = SCHEDULE_NULL_LIFE;
	return now - arrival >= life;
}
