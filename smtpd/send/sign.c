/* Signing what leaves: the keys, as the monitor hands them over, and which mail they are for. */
#include "smtpd/send/session.h"

#include "common/event/clock.h"
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

/* --- a mail ----------------------------------------------------------------------------------- */
/* Submitted by a user, or written by this server itself: what strangers sent is theirs to sign. */
static bool is_ours(const struct queue_entry *e)
{
	return e->account != 0 || (e->client.n == 0 && e->session.n == 0);
}

/* The lines that go out, but for dots. */
static void feed(struct dkim_signer *signer, struct stuffer *lines, struct span in, bool is_end)
{
	struct strbuf out;

	strbuf_init(&out, 2 * in.n + 16);
	stuff(lines, in, &out);
	if (is_end)
		stuff_end(lines, &out);
	dkim_signer_feed(signer, strbuf_span(&out));
	strbuf_clear(&out);
}

/* All of it passes; the first slice was read already. */
static int pass_all(struct session *c, struct dkim_signer *signer, struct err *err)
{
	struct stuffer lines = {0};
	struct strbuf piece;
	int rc = 0;

	feed(signer, &lines, strbuf_span(&c->slice), c->source.is_done);
	strbuf_init(&piece, SLICE_ROOM);
	while (rc == 0 && !c->source.is_done) {
		strbuf_reset(&piece);
		rc = source_read(&c->source, &piece, SLICE, err);
		if (rc == 0)
			feed(signer, &lines, strbuf_span(&piece), c->source.is_done);
	}
	strbuf_clear(&piece);
	return rc;
}

/* The fields, then the first slice: the one that is there if it is all. */
static int put_in_front(struct session *c, const struct queue_entry *e, struct span fields,
    bool is_whole, struct err *err)
{
	struct strbuf first = c->slice;

	strbuf_init(&c->slice, first.max);
	strbuf_add(&c->slice, fields);
	if (is_whole)
		strbuf_add(&c->slice, strbuf_span(&first));
	strbuf_clear(&first);
	if (is_whole)
		return 0;
	if (source_rewind(queue_blobs(c->send->queue), &e->blob, &c->source, err) < 0)
		return -1;
	return source_read(&c->source, &c->slice, SLICE, err);
}

int sign_first_slice(struct session *c, const struct queue_entry *e, struct err *err)
{
	struct dkim_signer *signer;
	const char *why = NULL;
	struct strbuf fields;
	bool is_whole;
	int rc;

	c->signature_size = 0;
	if (source_read(&c->source, &c->slice, SLICE, err) < 0)
		return -1;
	if (!c->keys || !is_ours(e))
		return 0;
	is_whole = c->source.is_done;
	signer = dkim_signer_new(c->keys, clock_now());
	strbuf_init(&fields, DKIM_FIELDS_MAX);
	rc = pass_all(c, signer, err);
	if (rc < 0)
		dkim_signer_free(signer);
	else
		rc = dkim_signer_end(signer, &fields, &why, err);
	if (rc == 0 && why) {
		char qid[QUEUE_ID_TEXT];

		queue_id_format(qid, e->qid);
		log_info("not-signed", LOG_STR("qid", qid), LOG_STR("reason", why));
	}
	c->signature_size = fields.n;
	if (rc == 0)
		rc = put_in_front(c, e, strbuf_span(&fields), is_whole, err);
	strbuf_clear(&fields);
	return rc;
}
