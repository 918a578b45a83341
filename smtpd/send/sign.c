/* The keys that mail is signed with, as the monitor hands them over. */
#include "smtpd/send/send.h"

#include "common/log/log.h"

/* One key that is no good does not keep the others from signing. */
static void add_keys(struct dkim_keys *keys, struct ipc_dkim_set *set)
{
	struct ipc_dkim_key key;

	while (ipc_dkim_next(set, &key)) {
		struct err err = ERR_INIT;

		if (dkim_keys_add(keys, key.domain, key.selector, key.key, &err) < 0)
			log_error("dkim-key", LOG_SPAN("domain", key.domain),
			    LOG_SPAN("selector", key.selector), LOG_ERR(&err));
	}
}

/* Mail that waited for them goes at once. */
static void use(struct send *s)
{
	bool is_first = !s->keys;

	dkim_keys_unref(s->keys);
	s->keys = s->new_keys;
	s->new_keys = NULL;
	log_info("dkim-keys", LOG_U64("domains", dkim_keys_count(s->keys)));
	if (is_first)
		sched_scan(s);
}

void send_take_keys(struct role *r, const struct ipc_msg *msg)
{
	struct send *s = r->ctx;
	struct ipc_dkim_set set;

	if (msg->type != LINK_DKIM || !ipc_dec_dkim_set(msg->body, &set)) {
		log_warning("link-message", LOG_U64("type", msg->type));
		return;
	}
	if (set.is_first) {
		dkim_keys_unref(s->new_keys);
		s->new_keys = dkim_keys_new();
	}
	if (!s->new_keys)
		return; /* what it goes on from was not the beginning */
	add_keys(s->new_keys, &set);
	if (set.is_last)
		use(s);
}
