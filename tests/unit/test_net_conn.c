/* The connection in the clear: every split, bounds on both sides, pauses, ends of every kind. */
#include "tests/support/conn_fixture.h"

static struct session s;
static int peer = -1;
static struct strbuf out;

static void setup(void)
{
	loop_setup();
	strbuf_init(&out, 64 << 20);
}

static void teardown(void)
{
	session_end(&s);
	strbuf_clear(&out);
	if (peer >= 0)
		close(peer);
	loop_settle(); /* a conn that was closed waits for its peer's end */
	loop_teardown();
}

static void send_all(struct span data)
{
	while (data.n > 0) {
		data = span_from(data, peer_send(peer, data));
		if (data.n > 0)
			loop_settle();
	}
}

/* --- input ------------------------------------------------------------------------------------ */
START_TEST(input_at_every_split)
{
	const struct span text = SPAN("EHLO client.example\r\nQUIT\r\n");

	peer = session_pair(&s, NULL);
	for (size_t at = 1; at < text.n; at++) {
		s.got.n = 0;
		s.wanted = at;
		ck_assert_uint_eq(peer_send(peer, span_sub(text, 0, at)), at);
		loop_wait();
		ck_assert(span_eq(strbuf_span(&s.got), span_sub(text, 0, at)));
		s.wanted = text.n;
		ck_assert_uint_eq(peer_send(peer, span_from(text, at)), text.n - at);
		loop_wait();
		ck_assert(span_eq(strbuf_span(&s.got), text));
	}
	ck_assert_uint_eq(s.inputs, 2 * (text.n - 1));
}
END_TEST

/* What is not taken waits: at most input_max of it, however much the peer sends. */
START_TEST(input_is_bounded)
{
	const struct conn_limits limits = {1000, 65536, 16384, 1 << 20};
	struct strbuf all;
	struct span rest;

	strbuf_init(&all, 1 << 20);
	pattern_add(&all, 300000);
	rest = strbuf_span(&all);
	peer = session_pair(&s, &limits);
	s.is_lazy = true;
	rest = span_from(rest, peer_send(peer, rest));
	for (int i = 0; i < 3; i++)
		loop_settle();
	ck_assert_uint_eq(conn_input(s.c).n, 1000);
	/* Room for more: exactly so much more is read. */
	conn_set_input_max(s.c, 1500);
	loop_settle();
	ck_assert_uint_eq(conn_input(s.c).n, 1500);
	conn_set_input_max(s.c, 1000);
	loop_settle();
	ck_assert_uint_eq(conn_input(s.c).n, 1500);
	conn_consume(s.c, 700);
	loop_settle();
	ck_assert_uint_eq(conn_input(s.c).n, 1000);
	ck_assert(span_eq(conn_input(s.c), span_sub(strbuf_span(&all), 700, 1000)));
	/* All the rest, in order. */
	strbuf_add(&s.got, span_sub(strbuf_span(&all), 0, 700));
	s.is_lazy = false;
	conn_pause(s.c);
	conn_resume(s.c);
	s.wanted = all.n;
	while (s.got.n < all.n) {
		rest = span_from(rest, peer_send(peer, rest));
		loop_settle();
	}
	ck_assert(span_eq(strbuf_span(&s.got), strbuf_span(&all)));
	strbuf_clear(&all);
}
END_TEST

static void take_seven(struct session *session)
{
	struct span in = conn_input(session->c);
	size_t n = in.n < 7 ? in.n : 7;

	strbuf_add(&session->got, span_sub(in, 0, n));
	conn_consume(session->c, n);
	conn_pause(session->c);
	conn_resume(session->c);
	if (session->wanted == session->got.n)
		loop_stop(loop);
}

/* A session that takes one command a call, as when each runs elsewhere, gets all of them. */
START_TEST(input_piece_by_piece)
{
	struct strbuf all;

	strbuf_init(&all, 1 << 20);
	pattern_add(&all, 70000);
	peer = session_pair(&s, NULL);
	s.is_lazy = true;
	s.hook = take_seven;
	s.wanted = all.n;
	send_all(strbuf_span(&all));
	loop_wait();
	ck_assert(span_eq(strbuf_span(&s.got), strbuf_span(&all)));
	strbuf_clear(&all);
}
END_TEST

START_TEST(paused)
{
	peer = session_pair(&s, NULL);
	conn_pause(s.c);
	ck_assert(conn_is_paused(s.c));
	peer_send(peer, SPAN("one"));
	loop_settle();
	ck_assert_uint_eq(s.inputs, 0);
	ck_assert_uint_eq(conn_input(s.c).n, 0);
	s.wanted = 3;
	conn_resume(s.c);
	conn_resume(s.c);
	loop_wait();
	ck_assert_str_eq(s.got.p, "one");
	/* Half a command stays; resuming brings it again although nothing new came. */
	s.is_lazy = true;
	peer_send(peer, SPAN("two"));
	loop_settle();
	ck_assert_uint_eq(conn_input(s.c).n, 3);
	conn_pause(s.c);
	s.is_lazy = false;
	s.wanted = 6;
	conn_resume(s.c);
	loop_wait();
	ck_assert_str_eq(s.got.p, "onetwo");
}
END_TEST

/* --- output ----------------------------------------------------------------------------------- */
START_TEST(small_writes_are_one_packet)
{
	char buf[64];

	peer = session_pair(&s, NULL);
	conn_write(s.c, SPAN("250-a\r\n"));
	conn_write(s.c, SPAN(""));
	conn_writef(s.c, "250 %s\r\n", "b");
	ck_assert_uint_eq(conn_output_waiting(s.c), 14);
	ck_assert_int_eq(recv(peer, buf, sizeof(buf), 0), -1); /* at the end of the turn */
	loop_settle();
	ck_assert_int_eq(recv(peer, buf, sizeof(buf), 0), 14);
	ck_assert(memcmp(buf, "250-a\r\n250 b\r\n", 14) == 0);
	ck_assert_uint_eq(conn_output_waiting(s.c), 0);
}
END_TEST

START_TEST(congestion)
{
	const struct conn_limits limits = {1000, 50000, 10000, 8 << 20};
	struct strbuf all;
	int small = 4096;

	strbuf_init(&all, 8 << 20);
	peer = session_pair(&s, &limits);
	ck_assert_int_eq(setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	ck_assert(!conn_is_congested(s.c));
	while (!conn_is_congested(s.c)) {
		size_t before = all.n;

		pattern_add(&all, 30011);
		conn_write(s.c, span_from(strbuf_span(&all), before));
	}
	pattern_add(&all, 1000000);
	conn_write(s.c, span_from(strbuf_span(&all), all.n - 1000000));
	loop_settle();
	ck_assert(conn_is_congested(s.c) && s.drains == 0);
	while (s.drains == 0) {
		peer_take(peer, &out, NULL);
		loop_settle();
	}
	ck_assert(!conn_is_congested(s.c));
	ck_assert_uint_lt(conn_output_waiting(s.c), 10000);
	while (out.n < all.n) {
		peer_take(peer, &out, NULL);
		loop_settle();
	}
	ck_assert(span_eq(strbuf_span(&out), strbuf_span(&all)));
	ck_assert_uint_eq(s.drains, 1);
	strbuf_clear(&all);
}
END_TEST

START_TEST(output_is_bounded)
{
	const struct conn_limits limits = {1000, 50000, 10000, 100000};
	static char part[100001];

	peer = session_pair(&s, &limits);
	conn_write(s.c, span_make(part, 100000));
	ck_assert_uint_eq(s.closes, 0);
	conn_write(s.c, span_make(part, 1));
	ck_assert_uint_eq(s.closes, 0); /* never from inside */
	loop_wait();
	ck_assert_uint_eq(s.closes, 1);
	ck_assert_int_eq(s.why.code, ERR_LIMIT);
}
END_TEST

/* --- ends ------------------------------------------------------------------------------------- */
START_TEST(deadline_with_farewell)
{
	bool is_end = false;

	peer = session_pair(&s, NULL);
	conn_set_deadline(s.c, 1000000);
	conn_set_deadline(s.c, 1);
	loop_wait();
	ck_assert_int_eq(s.why.code, ERR_TIMEOUT);
	conn_write(s.c, SPAN("421 too slow\r\n"));
	conn_close(s.c);
	s.c = NULL;
	while (!is_end) {
		loop_settle();
		peer_take(peer, &out, &is_end);
	}
	ck_assert_str_eq(out.p, "421 too slow\r\n");
}
END_TEST

START_TEST(deadline_taken_away)
{
	peer = session_pair(&s, NULL);
	conn_set_deadline(s.c, 1);
	conn_set_deadline(s.c, 0);
	loop_settle();
	ck_assert_uint_eq(s.closes, 0);
}
END_TEST

START_TEST(peer_closes)
{
	peer = session_pair(&s, NULL);
	peer_send(peer, SPAN("last words"));
	close(peer);
	peer = -1;
	loop_wait();
	ck_assert_str_eq(s.got.p, "last words");
	ck_assert_uint_eq(s.closes, 1);
	ck_assert_int_eq(s.why.code, ERR_CLOSED);
}
END_TEST

static void answer_much(struct session *session)
{
	struct strbuf answer;

	strbuf_init(&answer, 1 << 20);
	pattern_add(&answer, 400000);
	conn_write(session->c, strbuf_span(&answer));
	strbuf_clear(&answer);
}

/* A client that has said all it has to say still gets the whole answer, then the end. */
START_TEST(half_close)
{
	struct strbuf want;

	strbuf_init(&want, 1 << 20);
	pattern_add(&want, 400000);
	peer = session_pair(&s, NULL);
	s.hook = answer_much;
	peer_send(peer, SPAN("RETR 1\r\n"));
	shutdown(peer, SHUT_WR);
	while (s.closes == 0) {
		loop_settle();
		ck_assert(s.closes == 0 || conn_output_waiting(s.c) == 0);
		peer_take(peer, &out, NULL);
	}
	ck_assert_int_eq(s.why.code, ERR_CLOSED);
	ck_assert(span_eq(strbuf_span(&out), strbuf_span(&want)));
	ck_assert_str_eq(s.got.p, "RETR 1\r\n");
	strbuf_clear(&want);
}
END_TEST

/* The end of the peer waits while a command runs elsewhere. */
START_TEST(half_close_while_paused)
{
	peer = session_pair(&s, NULL);
	s.wanted = 3;
	peer_send(peer, SPAN("abc"));
	loop_wait();
	conn_pause(s.c);
	shutdown(peer, SHUT_WR);
	loop_settle();
	ck_assert_uint_eq(s.closes, 0);
	conn_write(s.c, SPAN("done"));
	conn_resume(s.c);
	loop_wait();
	ck_assert_uint_eq(s.closes, 1);
	peer_take(peer, &out, NULL);
	ck_assert_str_eq(out.p, "done");
}
END_TEST

START_TEST(closing_sends_what_waits)
{
	const struct conn_limits limits = {1000, 50000, 10000, 8 << 20};
	struct strbuf all;
	bool is_end = false;

	strbuf_init(&all, 8 << 20);
	pattern_add(&all, 3000000);
	peer = session_pair(&s, &limits);
	conn_write(s.c, strbuf_span(&all));
	conn_close(s.c);
	conn_close(s.c); /* twice is once */
	s.c = NULL;
	while (!is_end) {
		loop_settle();
		/* What still comes from us does not reset the end away. */
		peer_send(peer, SPAN("NOOP\r\n"));
		peer_take(peer, &out, &is_end);
	}
	ck_assert(span_eq(strbuf_span(&out), strbuf_span(&all)));
	strbuf_clear(&all);
}
END_TEST

/* A slow peer gets all of it, though it takes longer than what closing waits for one that takes
 * nothing. */
START_TEST(closing_waits_for_who_takes)
{
	const struct conn_limits limits = {1000, 50000, 10000, 8 << 20};
	uint64_t start = clock_mono_ms();
	struct strbuf all;
	ssize_t n = 0;
	char buf[4096];

	strbuf_init(&all, 8 << 20);
	pattern_add(&all, 1500000);
	peer = session_pair(&s, &limits);
	conn_write(s.c, strbuf_span(&all));
	conn_close(s.c);
	s.c = NULL;
	/* A piece a turn of 20 ms. */
	do {
		loop_settle();
		n = recv(peer, buf, sizeof(buf), 0);
		ck_assert_int_ge(n, 0);
		ck_assert(strbuf_add_mem(&out, buf, (size_t)n));
	} while (n > 0);
	ck_assert(span_eq(strbuf_span(&out), strbuf_span(&all)));
	ck_assert_uint_gt(clock_mono_ms() - start, 5000);
	strbuf_clear(&all);
}
END_TEST

/* Who said goodbye is not waited for; but what it said behind that does not reset our answer away.
 */
START_TEST(finishing)
{
	static const struct span more[] = {SPAN_INIT(""), SPAN_INIT("and more")};

	for (size_t i = 0; i < ARRAY_LEN(more); i++) {
		bool is_end = false;

		peer = session_pair(&s, NULL);
		strbuf_reset(&out);
		conn_write(s.c, SPAN("221 bye\r\n"));
		conn_finish(s.c);
		s.c = NULL;
		peer_send(peer, more[i]);
		while (!is_end) {
			loop_settle();
			peer_take(peer, &out, &is_end);
		}
		ck_assert_str_eq(out.p, "221 bye\r\n");
		close(peer);
		peer = -1;
		loop_settle();
	}
}
END_TEST

static void close_inside(struct session *session)
{
	conn_write(session->c, SPAN("221 bye\r\n"));
	conn_close(session->c);
	session->c = NULL;
	loop_stop(loop);
}

START_TEST(closing_inside_a_callback)
{
	bool is_end = false;

	peer = session_pair(&s, NULL);
	s.hook = close_inside;
	peer_send(peer, SPAN("QUIT\r\n"));
	loop_wait();
	while (!is_end) {
		loop_settle();
		peer_take(peer, &out, &is_end);
	}
	ck_assert_str_eq(out.p, "221 bye\r\n");
	ck_assert_uint_eq(s.closes, 0);
}
END_TEST

START_TEST(freed_inside_each_callback)
{
	static char much[200000];

	for (const char *at = "icd"; *at; at++) {
		peer = session_pair(&s, NULL);
		s.free_at = *at;
		if (*at == 'i')
			peer_send(peer, SPAN("x"));
		if (*at == 'c')
			shutdown(peer, SHUT_WR);
		if (*at == 'd')
			conn_write(s.c, span_make(much, sizeof(much)));
		for (int i = 0; s.c && i < 100; i++) {
			loop_settle();
			peer_take(peer, &out, NULL);
		}
		ck_assert_msg(!s.c, "%c", *at);
		close(peer);
		peer = -1;
		session_end(&s);
	}
}
END_TEST

START_TEST(write_to_a_peer_that_is_gone)
{
	peer = session_pair(&s, NULL);
	s.is_lazy = true;
	peer_send(peer, SPAN("unread"));
	loop_settle();
	close(peer);
	peer = -1;
	conn_write(s.c, SPAN("hello"));
	if (s.closes == 0)
		loop_wait();
	ck_assert_uint_eq(s.closes, 1);
	conn_write(s.c, SPAN("more")); /* harmless */
	loop_settle();
}
END_TEST

START_TEST(memory_follows_what_came)
{
	peer = session_pair(&s, NULL);
	s.is_lazy = true;
	peer_send(peer, SPAN("abc"));
	loop_settle();
	ck_assert(span_eq(conn_input(s.c), SPAN("abc")));
	conn_consume(s.c, 1);
	ck_assert(span_eq(conn_input(s.c), SPAN("bc")));
	conn_consume(s.c, 0);
	conn_consume(s.c, 2);
	ck_assert_uint_eq(conn_input(s.c).n, 0);
	ck_assert_uint_eq(conn_peer(s.c)->port, 9);
	ck_assert(!conn_is_tls(s.c));
	ck_assert_str_eq(conn_tls_version(s.c), "");
}
END_TEST

START_TEST(consume_too_much)
{
	peer = session_pair(&s, NULL);
	conn_consume(s.c, 1);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {input_at_every_split, input_is_bounded, input_piece_by_piece,
	    paused, small_writes_are_one_packet, congestion, output_is_bounded,
	    deadline_with_farewell, deadline_taken_away, peer_closes, half_close,
	    half_close_while_paused, closing_sends_what_waits, closing_waits_for_who_takes,
	    finishing, closing_inside_a_callback, freed_inside_each_callback,
	    write_to_a_peer_that_is_gone, memory_follows_what_came};
	TCase *tc = tcase_create("conn");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	unit_add(tc, tests, ARRAY_LEN(tests));
	tcase_add_exit_test(tc, consume_too_much, 70);
	return unit_finish(tc);
}
