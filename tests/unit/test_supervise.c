/* Programs that are started in order, said ready, died, started again, stopped in reverse. */
#include "common/daemon/supervise.h"
#include "tests/support/loop_fixture.h"

#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];
static struct supervisor *s;
static unsigned readies, ends;
static int end_status;

static void on_ready(void *arg)
{
	readies++;
	loop_stop(loop);
}

static void on_end(void *arg, int status)
{
	ends++;
	end_status = status;
	loop_stop(loop);
}

static const struct supervisor_ops ops = {.on_ready = on_ready, .on_end = on_end};
static struct program *programs[3];
static size_t program_count;

static const char *in_dir(const char *name)
{
	static char path[4][128];
	static unsigned turn;
	char *out = path[turn++ % 4];

	snprintf(out, sizeof(path[0]), "%s/%s", dir, name);
	return out;
}

static void setup(void)
{
	loop_setup();
	snprintf(dir, sizeof(dir), "/tmp/mailstead-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	s = supervisor_new(
	    loop, &(struct supervisor_options){.ops = &ops, .silence_ms = 500, .stop_ms = 10000});
}

static void teardown(void)
{
	static const char *const names[] = {"trace", "a", "b", "c"};

	supervisor_free(s);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		unlink(in_dir(names[i]));
	rmdir(dir);
	loop_teardown();
}

/* A program that writes its name when it starts and when it is told to end. Ready is a frame over
 * descriptor 3; a shell answers no pings. */
static void add_kind(const char *name, const char *script, unsigned rank, bool is_foreign)
{
	char text[1024], shell[] = "/bin/sh", flag[] = "-c";

	snprintf(text, sizeof(text),
	    "echo +%s >>%s; trap 'echo -%s >>%s; exit 0' TERM; "
	    "ready() { printf '\\0\\0\\0\\0\\0\\050\\0\\0\\0\\0\\0\\0' >&3; }; "
	    "rest() { while :; do sleep 0.01; done; }; %s",
	    name, in_dir("trace"), name, in_dir("trace"), script);
	programs[program_count++] =
	    supervisor_add(s, &(struct program_spec){.name = name,
				  .argv = (char *[]){shell, flag, text, NULL},
				  .rank = rank,
				  .is_foreign = is_foreign});
}

/* Ranks as added, so that they end in reverse. */
static void add(const char *name, const char *script)
{
	add_kind(name, script, (unsigned)program_count, true);
}

static const char *trace(void)
{
	static char text[4096];
	FILE *in = fopen(in_dir("trace"), "r");
	size_t n = in ? fread(text, 1, sizeof(text) - 1, in) : 0;

	if (in)
		fclose(in);
	text[n] = '\0';
	for (size_t i = 0; i < n; i++)
		if (text[i] == '\n')
			text[i] = ' ';
	return text;
}

static struct program *find(const char *name)
{
	for (size_t i = 0; i < program_count; i++)
		if (strcmp(program_name(programs[i]), name) == 0)
			return programs[i];
	ck_abort_msg("no program %s", name);
}

static pid_t pid_of(const char *name)
{
	return program_pid(find(name));
}

static void stop(void)
{
	supervisor_stop(s);
	supervisor_stop(s);
	while (ends == 0)
		loop_wait();
	ck_assert_uint_eq(ends, 1);
}

/* Each starts when the one before is ready; they end in reverse. */
START_TEST(in_order)
{
	add("a", "sleep 0.05; ready; rest");
	add("b", "ready; rest");
	add("c", "ready; rest");
	supervisor_start(s);
	loop_wait();
	ck_assert_uint_eq(readies, 1);
	ck_assert_str_eq(trace(), "+a +b +c ");
	ck_assert_int_gt(pid_of("a"), 0);
	ck_assert_int_gt(pid_of("c"), 0);
	stop();
	ck_assert_int_eq(end_status, 0);
	ck_assert_str_eq(trace(), "+a +b +c -c -b -a ");
	ck_assert_int_eq(pid_of("a"), 0);
}
END_TEST

/* One that is killed comes back, alone; a signal goes to every program. */
START_TEST(killed_comes_back)
{
	add("a", "ready; rest");
	add("b", "ready; rest");
	supervisor_start(s);
	loop_wait();
	for (unsigned round = 1; round <= 2; round++) {
		pid_t old = pid_of("a"), other = pid_of("b");

		ck_assert_int_eq(kill(old, SIGKILL), 0);
		while (pid_of("a") == old || pid_of("a") == 0)
			loop_settle();
		ck_assert_uint_eq(program_restarts(find("a")), round);
		ck_assert_int_eq(pid_of("b"), other);
		while (strcmp(trace(), round == 1 ? "+a +b +a " : "+a +b +a +a ") != 0)
			loop_settle();
	}
	ck_assert_uint_eq(readies, 1);
	stop();
	ck_assert_str_eq(trace(), "+a +b +a +a -b -a ");
}
END_TEST

/* The wait grows while it keeps ending: after 100 ms, 200 ms, 400 ms. */
START_TEST(back_off)
{
	uint64_t started[5];

	add("a", "ready; exit 7");
	supervisor_start(s);
	loop_wait();
	started[0] = clock_mono_ms();
	for (unsigned round = 1; round <= 3; round++) {
		do {
			loop_settle();
		} while (program_restarts(find("a")) < round + 1);
		started[round] = clock_mono_ms();
	}
	/* Later than asked is possible at any load, earlier is not. */
	ck_assert_uint_ge(started[3] - started[0], 100 + 200 + 400 - 100);
	stop();
	ck_assert_int_eq(end_status, 0);
}
END_TEST

/* Wrong configuration at the first start ends the whole, with its status. */
START_TEST(first_start_fails)
{
	add("a", "ready; rest");
	add("b", "exit 1");
	add("c", "ready; rest");
	supervisor_start(s);
	while (ends == 0)
		loop_wait();
	ck_assert_int_eq(end_status, 1);
	ck_assert_uint_eq(readies, 0);
	ck_assert_str_eq(trace(), "+a +b -a ");
}
END_TEST

START_TEST(first_start_ends_well_but_not_ready)
{
	add("a", "exit 0");
	supervisor_start(s);
	loop_wait();
	ck_assert_uint_eq(ends, 1);
	ck_assert_int_eq(end_status, 1);
}
END_TEST

START_TEST(first_start_killed)
{
	add("a", "kill -9 $$");
	supervisor_start(s);
	loop_wait();
	ck_assert_int_eq(end_status, 128 + SIGKILL);
}
END_TEST

START_TEST(no_such_program)
{
	supervisor_add(s, &(struct program_spec){.name = "x", .argv = (char *[]){dir, NULL}});
	supervisor_start(s);
	loop_wait();
	ck_assert_uint_eq(ends, 1);
	ck_assert_int_eq(end_status, 127);
}
END_TEST

/* Stopped while one is starting, and while one waits to be started again. */
START_TEST(stopped_early)
{
	add("a", "rest"); /* never ready */
	supervisor_start(s);
	while (strcmp(trace(), "+a ") != 0)
		loop_settle();
	stop();
	ck_assert_int_eq(end_status, 0);
	ck_assert_uint_eq(readies, 0);
}
END_TEST

START_TEST(stopped_between)
{
	add("a", "ready; exit 0");
	supervisor_start(s);
	loop_wait();
	while (pid_of("a") != 0)
		loop_settle();
	stop();
	ck_assert_int_eq(end_status, 0);
}
END_TEST

static void on_sigterm(void *arg, int signo)
{
}

/* Told to end in the moment in which it is made: not lost in a handler that it inherited. */
START_TEST(stopped_at_once)
{
	uint64_t begun = clock_mono_ms();

	loop_on_signal(loop, SIGTERM, on_sigterm, NULL);
	add("a", "ready; rest");
	supervisor_start(s);
	stop();
	/* Nobody had to be killed, after 10 s, for not having heard. */
	ck_assert_uint_lt(clock_mono_ms() - begun, 9000);
}
END_TEST

START_TEST(a_signal_reaches_its_program)
{
	char script[256];

	snprintf(script, sizeof(script), "trap 'echo HUP >>%s' HUP; ready; rest", in_dir("trace"));
	add("a", script);
	supervisor_start(s);
	loop_wait();
	program_signal(find("a"), SIGHUP);
	while (strcmp(trace(), "+a HUP ") != 0)
		loop_settle();
	stop();
}
END_TEST

/* One that says ready and then answers no ping is killed, and comes back. */
START_TEST(silent_is_killed)
{
	pid_t old;

	add_kind("a", "ready; rest", 0, false);
	supervisor_start(s);
	loop_wait();
	old = pid_of("a");
	while (pid_of("a") == old || pid_of("a") == 0)
		loop_settle();
	stop();
	ck_assert_int_eq(end_status, 0);
}
END_TEST

/* The same rank ends together, whoever takes longer. */
START_TEST(ranks_end_together)
{
	char slow[256];

	add_kind("a", "ready; rest", 0, true);
	snprintf(slow, sizeof(slow),
	    "trap 'while ! grep -q -- -c %s; do sleep 0.01; done; echo -b >>%s; exit 0' TERM; "
	    "ready; rest",
	    in_dir("trace"), in_dir("trace"));
	add_kind("b", slow, 1, true);
	add_kind("c", "ready; rest", 1, true);
	supervisor_start(s);
	loop_wait();
	stop();
	ck_assert_str_eq(trace(), "+a +b +c -c -b -a ");
}
END_TEST

/* A program gets its standard descriptors, the link as 3, and none of ours. */
START_TEST(descriptors)
{
	char script[256], fd[32];
	unsigned small = 0;
	FILE *in;

	/* No pipeline: the shell would hold its pipes. */
	snprintf(script, sizeof(script), "ls /proc/$$/fd >%s; ready; rest", in_dir("a"));
	add("a", script);
	supervisor_start(s);
	loop_wait();
	in = fopen(in_dir("a"), "r");
	ck_assert_ptr_nonnull(in);
	/* The shell itself may keep some of 10 and above. */
	while (fgets(fd, sizeof(fd), in))
		if (strlen(fd) == 2)
			small |= 1u << (fd[0] - '0');
	fclose(in);
	ck_assert_uint_eq(small, 0xf);
	stop();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {in_order, killed_comes_back, back_off, first_start_fails,
	    first_start_ends_well_but_not_ready, first_start_killed, no_such_program, stopped_early,
	    stopped_between, stopped_at_once, a_signal_reaches_its_program, silent_is_killed,
	    ranks_end_together, descriptors};
	TCase *tc = tcase_create("supervise");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	unit_add(tc, tests, ARRAY_LEN(tests));
	return unit_finish(tc);
}
