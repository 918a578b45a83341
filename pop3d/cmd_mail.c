/* The TRANSACTION state, but for RETR and TOP: numbers and marks, no message bytes. */
#include "pop3d/pop3.h"

#include "common/base/mem.h"

static size_t message_count(const struct session *s)
{
	return s->drop->count - s->deleted;
}

static uint64_t message_bytes(const struct session *s)
{
	return s->total_bytes - s->deleted_bytes;
}

static bool is_deleted(const struct session *s, size_t i)
{
	return s->marks[i] & MARK_DELETED;
}

void cmd_stat(struct session *s, struct span arg)
{
	reply_ok(s, "%zu %llu", message_count(s), (unsigned long long)message_bytes(s));
}

static void write_entry(struct session *s, bool is_uidl, size_t i, const char *prefix)
{
	const struct store_message *m = &s->drop->messages[i];

	if (is_uidl)
		conn_writef(
		    s->conn, "%s%zu %u.%u\r\n", prefix, i + 1, s->drop->uidvalidity, m->uid);
	else
		conn_writef(s->conn, "%s%zu %llu\r\n", prefix, i + 1, (unsigned long long)m->size);
}

void listing_continue(struct session *s)
{
	struct listing *l = &s->listing;

	for (; l->next < s->drop->count; l->next++) {
		if (conn_is_congested(s->conn)) {
			s->wait = WAIT_OUTPUT;
			return;
		}
		if (!is_deleted(s, l->next))
			write_entry(s, l->is_uidl, l->next, "");
	}
	l->is_active = false;
	conn_write(s->conn, SPAN(".\r\n"));
	if (s->wait == WAIT_OUTPUT)
		session_next(s);
}

static void list_or_uidl(struct session *s, bool is_uidl, struct span arg)
{
	if (arg.n > 0) {
		ssize_t i = maildrop_number(s, arg);

		if (i >= 0)
			write_entry(s, is_uidl, (size_t)i, "+OK ");
		return;
	}
	reply_ok(s, "%zu messages", message_count(s));
	s->listing = (struct listing){.is_active = true, .is_uidl = is_uidl};
	listing_continue(s);
}

void cmd_list(struct session *s, struct span arg)
{
	list_or_uidl(s, false, arg);
}

void cmd_uidl(struct session *s, struct span arg)
{
	list_or_uidl(s, true, arg);
}

void cmd_dele(struct session *s, struct span arg)
{
	ssize_t i = maildrop_number(s, arg);

	if (i < 0)
		return;
	s->marks[i] |= MARK_DELETED;
	s->deleted++;
	s->deleted_bytes += s->drop->messages[i].size;
	reply_ok(s, "Marked");
}

void cmd_noop(struct session *s, struct span arg)
{
	reply_ok(s, "Nothing done");
}

void cmd_rset(struct session *s, struct span arg)
{
	for (size_t i = 0; i < s->drop->count; i++)
		s->marks[i] &= ~MARK_DELETED;
	s->deleted = 0;
	s->deleted_bytes = 0;
	reply_ok(s, "%zu messages", message_count(s));
}

void cmd_quit(struct session *s, struct span arg)
{
	if (s->is_in_transaction && (s->deleted > 0 || s->retrieved > 0)) {
		maildrop_update(s);
		return;
	}
	reply_ok(s, "Bye");
	s->is_closing = true;
}
