/*
 * The rules of LMDB that were learned by experiment: each test fails if its rule is broken. fsync
 * and fdatasync of this program stand in front of the library's, so that flushes can be watched and
 * made to fail.
 */
#include "common/db/db_int.h"
#include "tests/support/fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>

static struct err err;

/* --- flushes, watched ---------------------------------------------------------------------------
 */
static struct {
	dev_t dev;
	ino_t ino;
} flushed[64];
static size_t flush_count;
static atomic_int flush_fails; /* errno for the next fdatasync, once */

static void flush_record(int fd)
{
	struct stat st;

	if (flush_count < ARRAY_LEN(flushed) && fstat(fd, &st) == 0) {
		flushed[flush_count].dev = st.st_dev;
		flushed[flush_count++].ino = st.st_ino;
	}
}

int fsync(int fd)
{
	flush_record(fd);
	return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
	int fail = atomic_exchange(&flush_fails, 0);

	if (fail) {
		errno = fail;
		return -1;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

/* Modes corrected by path, and what kind of file system it is. */
static unsigned chmod_count;
static long fs_type;

int fchmodat(int fd, const char *name, mode_t mode, int flags)
{
	chmod_count++;
	return (int)syscall(SYS_fchmodat, fd, name, mode);
}

int fstatfs(int fd, struct statfs *st)
{
	int rc = (int)syscall(SYS_fstatfs, fd, st);

	if (fs_type)
		st->f_type = fs_type;
	return rc;
}

static bool is_flushed(size_t i, const char *path)
{
	struct stat st;

	ck_assert_int_eq(stat(path, &st), 0);
	return i < flush_count && flushed[i].dev == st.st_dev && flushed[i].ino == st.st_ino;
}

START_TEST(new_files_are_flushed_before_use)
{
	struct db_env *env;

	flush_count = 0;
	env = fixture_open(1 << 20, 1 << 20);
	ck_assert_uint_eq(flush_count, 4);
	/* Before it gets its name, and behind it. */
	ck_assert(is_flushed(0, fixture_path("env/data.mdb")));
	ck_assert(is_flushed(1, fixture_path("env/data.mdb")));
	ck_assert(is_flushed(2, fixture_path("env")));
	ck_assert(is_flushed(3, fixture_path("")));
	ck_assert_int_ne(access(fixture_path("env/data.new"), F_OK), 0);
	ck_assert_int_ne(access(fixture_path("env/data.new-lock"), F_OK), 0);
	db_env_close(env);
}
END_TEST

/* What a crash in the first moments of a database has left. */
START_TEST(a_beginning_that_was_cut_off_is_begun_again)
{
	static const char *const names[] = {"env/data.new", "env/data.new-lock", "env/data.mdb"};

	ck_assert_int_eq(mkdir(fixture_path("env"), 0700), 0);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		FILE *out = fopen(fixture_path(names[i]), "w");

		ck_assert_ptr_nonnull(out);
		if (i == 0)
			fputs("half a page", out);
		fclose(out);
	}
	db_env_close(fixture_open(1 << 20, 1 << 20));
	ck_assert_int_ne(access(fixture_path("env/data.new"), F_OK), 0);
}
END_TEST

START_TEST(mode_whatever_the_umask)
{
	static const mode_t masks[] = {0, 077, 022};
	struct stat st;

	for (size_t i = 0; i < ARRAY_LEN(masks); i++) {
		mode_t old = umask(masks[i]);
		struct db_env *env;

		chmod_count = 0;
		env = fixture_open(1 << 20, 1 << 20);
		/* Right from the start: no moment in which another service could not open them. */
		ck_assert_uint_eq(chmod_count, 0);
		ck_assert_uint_eq(umask(old), masks[i]); /* and it is put back */
		ck_assert_int_eq(stat(fixture_path("env/data.mdb"), &st), 0);
		ck_assert_uint_eq(st.st_mode & 07777, 0660);
		ck_assert_int_eq(stat(fixture_path("env/lock.mdb"), &st), 0);
		ck_assert_uint_eq(st.st_mode & 07777, 0660);
		ck_assert_int_eq(stat(fixture_path("env"), &st), 0);
		ck_assert_uint_eq(st.st_mode & 07777, 02770);
		db_env_close(env);
		/* And put right again by path. */
		ck_assert_int_eq(chmod(fixture_path("env/data.mdb"), 0600), 0);
		ck_assert_int_eq(chmod(fixture_path("env/lock.mdb"), 0666), 0);
		db_env_close(fixture_open(1 << 20, 1 << 20));
		ck_assert_int_eq(stat(fixture_path("env/data.mdb"), &st), 0);
		ck_assert_uint_eq(st.st_mode & 07777, 0660);
		ck_assert_int_eq(stat(fixture_path("env/lock.mdb"), &st), 0);
		ck_assert_uint_eq(st.st_mode & 07777, 0660);
		fixture_teardown();
		fixture_setup();
	}
}
END_TEST

/* --- locks --------------------------------------------------------------------------------------
 */
/* Asked by another process, because a process does not see its own locks: is our byte of lock.mdb
 * still locked by us? LMDB locks the byte at our pid once we have read something. */
static bool lock_is_held(void)
{
	pid_t parent = getpid(), child = fork();
	int status;

	if (child == 0) {
		int fd = open(fixture_path("env/lock.mdb"), O_RDWR);
		struct flock l = {.l_type = F_WRLCK, .l_start = parent, .l_len = 1};

		_exit(fd >= 0 && fcntl(fd, F_GETLK, &l) == 0 && l.l_type != F_UNLCK &&
			      l.l_pid == parent
			  ? 0
			  : 1);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	return status == 0;
}

static void read_once(struct db_env *env)
{
	struct db_txn *txn;
	struct span val;

	ck_ok(db_read_begin(env, &txn, &err));
	db_get(txn, SPAN("k"), &val, NULL);
	db_abort(txn);
}

START_TEST(a_second_open_is_refused_and_drops_no_lock)
{
	struct db_env *env = fixture_open(1 << 20, 1 << 20), *second;
	struct db_options opt = {.dir = fixture_path("other"), .map_size = 1 << 20};
	struct db_stat st;
	int dead;

	read_once(env);
	ck_assert(lock_is_held());
	/* Not by its name, not by another name of the same folder. */
	ck_assert_int_eq(symlink(fixture_path("env"), fixture_path("other")), 0);
	ck_fails(db_env_open(&opt, &second, &err), ERR_BUSY);
	opt.dir = fixture_path("env");
	ck_fails(db_env_open(&opt, &second, &err), ERR_BUSY);
	ck_assert(lock_is_held());
	ck_ok(db_env_stat(env, &st, &err));
	ck_ok(db_env_check_readers(env, &dead));
	ck_ok(db_env_grow(env, NULL) < 0 ? 0 : 0);
	ck_assert(lock_is_held());
	db_env_close(env);
	ck_assert(!lock_is_held()); /* so that the question above means something */
	env = fixture_open(1 << 20, 1 << 20);
	db_env_close(env);
}
END_TEST

/* A child process that says when it is ready and then waits to be killed. */
static pid_t spawn(void (*fn)(void))
{
	int fds[2];
	char c;
	pid_t pid;

	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		fn();
		if (write(fds[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(fds[1]);
	ck_assert_int_eq(read(fds[0], &c, 1), 1);
	close(fds[0]);
	return pid;
}

static void kill_and_wait(pid_t pid)
{
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

static void hold_open(void)
{
	read_once(fixture_open(1 << 20, 1 << 20));
}

static void hold_reader(void)
{
	struct db_txn *txn;

	if (db_read_begin(fixture_open(1 << 20, 1 << 20), &txn, NULL) < 0)
		_exit(1);
}

START_TEST(stale_readers_are_cleared)
{
	pid_t holder, reader, second;
	struct db_env *env;
	int dead;

	env = fixture_open(1 << 20, 1 << 20);
	db_env_close(env);
	/* Someone keeps the environment open, so that the reader table is not made anew. */
	holder = spawn(hold_open);
	reader = spawn(hold_reader);
	second = spawn(hold_reader);
	kill_and_wait(reader);
	env = fixture_open(1 << 20, 1 << 20);
	ck_ok(db_env_check_readers(env, &dead));
	ck_assert_msg(dead == 0, "opening left %d stale readers", dead);
	/* And one that dies while we run: what the writer thread does every 30 s. */
	kill_and_wait(second);
	ck_ok(db_env_check_readers(env, &dead));
	ck_assert_int_eq(dead, 1);
	kill_and_wait(holder);
	db_env_close(env);
}
END_TEST

/* --- the file -----------------------------------------------------------------------------------
 */
static void fill(struct db_env *env, unsigned rows, size_t bytes)
{
	char *big = mem_zalloc(bytes), key[16];
	struct db_txn *txn;

	ck_ok(db_write_begin(env, &txn, &err));
	for (unsigned i = 0; i < rows; i++) {
		snprintf(key, sizeof(key), "row%u", i);
		ck_ok(db_put(txn, span_of(key), span_make(big, bytes), &err));
	}
	ck_ok(db_commit(txn, &err));
	mem_free(big);
}

/* Reads every byte; in a child, because what is tested for is SIGBUS. 0: all read, 1: refused. */
static int read_all_in_child(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct db_options opt = {.dir = fixture_path("env"), .map_size = 1 << 24};
		struct db_env *env;
		struct db_txn *txn;
		struct db_cursor c;
		unsigned sum = 0;

		if (db_env_open(&opt, &env, &err) < 0)
			_exit(err.code == ERR_CORRUPT ? 1 : 2);
		if (db_read_begin(env, &txn, &err) < 0 ||
		    db_cursor_open(txn, &c, SPAN(""), &err) < 0)
			_exit(3);
		for (int rc = db_first(&c, &err); rc == 1; rc = db_next(&c, &err))
			for (size_t i = 0; i < c.val.n; i++)
				sum += (unsigned char)c.val.p[i];
		_exit(sum == 0 ? 0 : 4);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "signal %d", WTERMSIG(status));
	return WEXITSTATUS(status);
}

START_TEST(a_truncated_file_is_refused)
{
	struct db_env *env = fixture_open(1 << 24, 1 << 24);
	const char *path = fixture_path("env/data.mdb");
	struct stat st;
	off_t full;
	char file[160];

	snprintf(file, sizeof(file), "%s", path);
	fill(env, 100, 9000);
	db_env_close(env);
	ck_assert_int_eq(read_all_in_child(), 0);
	ck_assert_int_eq(stat(file, &st), 0);
	full = st.st_size;
	for (off_t size = full - 4096; size > 0; size -= size > 65536 ? 61440 : 4096) {
		ck_assert_int_eq(truncate(file, size), 0);
		ck_assert_int_eq(read_all_in_child(), 1);
		/* Refusing changes nothing: it is refused again. */
		ck_assert_int_eq(stat(file, &st), 0);
		ck_assert_int_eq(st.st_size, size);
	}
	ck_assert_int_eq(truncate(file, 100), 0);
	ck_assert_int_eq(read_all_in_child(), 1);
}
END_TEST

START_TEST(a_file_that_ends_in_free_pages_is_not_refused)
{
	struct db_env *env = fixture_open(1 << 24, 1 << 24);
	char file[160], *big = mem_zalloc(200000);
	struct db_txn *txn;
	struct db_stat st;

	snprintf(file, sizeof(file), "%s", fixture_path("env/data.mdb"));
	/* Free pages for what a commit itself needs ... */
	for (unsigned i = 0; i < 4; i++)
		fill(env, 10, 9000 + i * 4096);
	/* ... and a row written and deleted in one transaction: LMDB never writes its pages. */
	ck_ok(db_write_begin(env, &txn, &err));
	fixture_put(txn, "small", "");
	ck_ok(db_put(txn, SPAN("big"), span_make(big, 200000), &err));
	ck_ok(db_del(txn, SPAN("big"), &err));
	ck_ok(db_commit(txn, &err));
	ck_ok(db_env_stat(env, &st, &err));
	ck_assert_uint_lt(st.file_bytes, st.used_pages * st.page_size);
	db_env_close(env);
	ck_assert_int_eq(read_all_in_child(), 0);
	env = fixture_open(1 << 24, 1 << 24);
	fill(env, 10, 9000);
	db_env_close(env);
	ck_assert_int_eq(read_all_in_child(), 0);
	mem_free(big);
}
END_TEST

START_TEST(a_foreign_file_is_refused)
{
	struct db_options opt = {.dir = fixture_path("env"), .map_size = 1 << 20};
	struct db_env *env = fixture_open(1 << 20, 1 << 20);
	char file[160], junk[16384];
	int fd;

	db_env_close(env);
	snprintf(file, sizeof(file), "%s", fixture_path("env/data.mdb"));
	memset(junk, 'x', sizeof(junk));
	fd = open(file, O_WRONLY | O_TRUNC);
	ck_assert_int_eq(write(fd, junk, sizeof(junk)), sizeof(junk));
	close(fd);
	ck_fails(db_env_open(&opt, &env, &err), ERR_CORRUPT);
	ck_assert_int_eq(unlink(file), 0);
	ck_assert_int_eq(symlink("/etc/passwd", file), 0);
	ck_assert_int_lt(db_env_open(&opt, &env, &err), 0);
}
END_TEST

START_TEST(network_file_systems_and_root_are_refused)
{
	struct db_options opt = {.dir = fixture_path("env"), .map_size = 1 << 20};
	struct db_env *env;

	ck_assert(db_fs_is_network(0x6969) && db_fs_is_network(0x01021997));
	ck_assert(db_fs_is_network((int)0xFF534D42)); /* sign-extended where f_type is an int */
	ck_assert(!db_fs_is_network(0xEF53) && !db_fs_is_network(0x01021994));
	fs_type = 0x6969;
	ck_fails(db_env_open(&opt, &env, &err), ERR_UNSUPPORTED);
	fs_type = 0;
	ck_assert_int_eq(rmdir(opt.dir), 0);
	if (geteuid() != 0)
		return;
	unsetenv("MAILSTEAD_ALLOW_ROOT");
	ck_fails(db_env_open(&opt, &env, &err), ERR_DENIED);
	ck_assert_int_ne(access(opt.dir, F_OK), 0);
	/* What is there already may be opened: checks and backups by the administrator. */
	setenv("MAILSTEAD_ALLOW_ROOT", "1", 1);
	db_env_close(fixture_open(1 << 20, 1 << 20));
	unsetenv("MAILSTEAD_ALLOW_ROOT");
	ck_ok(db_env_open(&opt, &env, &err));
	db_env_close(env);
}
END_TEST

/* --- group commit -------------------------------------------------------------------------------
 */
struct rule_op {
	struct db_op op;
	unsigned number, runs;
	size_t bytes;
	bool swallows; /* says that all is well after a failed write */
	size_t *left;
	struct loop *loop;
};

static int rule_run(struct db_op *op, struct db_txn *txn, struct err *e)
{
	struct rule_op *r = container_of(op, struct rule_op, op);
	char *big = mem_zalloc(r->bytes + 1), key[16];
	struct span val;
	uint32_t count = 0;
	int rc;

	r->runs++;
	/* Counts what has taken effect: must be once, however often it is run. */
	snprintf(key, sizeof(key), "n%u", r->number);
	if (db_get(txn, span_of(key), &val, NULL) == 0 && val.n == sizeof(count))
		memcpy(&count, val.p, sizeof(count));
	count++;
	rc = db_put(txn, span_of(key), span_make(&count, sizeof(count)), e);
	snprintf(key, sizeof(key), "b%u", r->number);
	if (rc == 0)
		rc = db_put(txn, span_of(key), span_make(big, r->bytes), e);
	mem_free(big);
	return r->swallows ? 0 : rc;
}

static void rule_done(struct db_op *op)
{
	struct rule_op *r = container_of(op, struct rule_op, op);

	if (--*r->left == 0)
		loop_stop(r->loop);
}

static unsigned effect(struct db_env *env, unsigned number)
{
	struct db_txn *txn;
	struct span val;
	uint32_t count = 0;
	char key[16];

	snprintf(key, sizeof(key), "n%u", number);
	ck_ok(db_read_begin(env, &txn, &err));
	if (db_get(txn, span_of(key), &val, NULL) == 0)
		memcpy(&count, val.p, sizeof(count));
	db_abort(txn);
	return count;
}

struct group {
	struct loop *loop;
	struct db_env *env;
	struct db_writer *writer;
	size_t left;
	struct rule_op ops[64];
};

static struct group *group_new(size_t map_size, size_t map_max, const struct db_writer_options *opt)
{
	struct group *g = mem_zalloc(sizeof(*g));

	g->loop = loop_new();
	g->env = fixture_open(map_size, map_max);
	g->writer = db_writer_new(g->env, g->loop, opt);
	for (unsigned i = 0; i < ARRAY_LEN(g->ops); i++)
		g->ops[i] = (struct rule_op){.op = {.run = rule_run, .done = rule_done},
		    .number = i,
		    .left = &g->left,
		    .loop = g->loop};
	return g;
}

static int gate_run(struct db_op *op, struct db_txn *txn, struct err *e)
{
	return 0;
}

/* All in one batch: they are submitted while the writer waits with an operation of its own for the
 * write lock, which we hold. */
static void group_run(struct group *g, unsigned count)
{
	struct rule_op gate = {
	    .op = {.run = gate_run, .done = rule_done}, .left = &g->left, .loop = g->loop};
	struct db_writer_stat st;
	struct db_txn *txn;

	ck_ok(db_write_begin(g->env, &txn, &err));
	g->left = count + 1;
	db_write(g->writer, &gate.op);
	do {
		sched_yield();
		db_writer_stat(g->writer, &st);
	} while (st.waiting);
	for (unsigned i = 0; i < count; i++)
		db_write(g->writer, &g->ops[i].op);
	db_abort(txn);
	loop_run(g->loop);
}

static void group_free(struct group *g)
{
	db_writer_free(g->writer);
	db_env_close(g->env);
	loop_free(g->loop);
	mem_free(g);
}

START_TEST(a_failed_child_is_never_committed)
{
	struct group *g = group_new(1 << 20, 1 << 20, NULL);

	/* One operation fails for lack of room and says that all is well. Committing its child
	 * would poison the parent, and with it the others. */
	g->ops[20].bytes = (size_t)4 << 20;
	g->ops[20].swallows = true;
	group_run(g, 40);
	for (unsigned i = 0; i < 40; i++) {
		ck_assert_int_eq(g->ops[i].op.err.code, i == 20 ? ERR_NO_SPACE : ERR_NONE);
		ck_assert_uint_eq(effect(g->env, i), i == 20 ? 0 : 1);
	}
	group_free(g);
}
END_TEST

START_TEST(a_full_map_grows_and_the_batch_is_run_again)
{
	struct group *g = group_new(1 << 20, 1 << 26, NULL);
	struct db_writer_stat st;

	for (unsigned i = 0; i < 40; i++)
		g->ops[i].bytes = 100000;
	group_run(g, 40);
	db_writer_stat(g->writer, &st);
	ck_assert_uint_gt(st.reruns, 0);
	for (unsigned i = 0; i < 40; i++) {
		ck_assert_msg(g->ops[i].op.err.code == 0, "%u: %s", i, g->ops[i].op.err.text);
		ck_assert_uint_eq(effect(g->env, i), 1);
	}
	group_free(g);
}
END_TEST

START_TEST(at_the_largest_map_the_small_ones_still_succeed)
{
	struct group *g = group_new(1 << 20, 1 << 21, NULL);

	for (unsigned i = 0; i < 40; i++)
		g->ops[i].bytes = i % 4 == 1 ? (size_t)3 << 20 : 100;
	group_run(g, 40);
	for (unsigned i = 0; i < 40; i++) {
		ck_assert_int_eq(g->ops[i].op.err.code, i % 4 == 1 ? ERR_NO_SPACE : ERR_NONE);
		ck_assert_uint_eq(effect(g->env, i), i % 4 == 1 ? 0 : 1);
	}
	group_free(g);
}
END_TEST

static unsigned failures;

static void on_failure(void *arg, const struct err *e)
{
	ck_assert_int_eq(e->code, ERR_IO);
	failures++;
}

START_TEST(after_a_failed_flush_nothing_is_acknowledged)
{
	const struct db_writer_options opt = {.on_failure = on_failure};
	struct group *g = group_new(1 << 20, 1 << 20, &opt);
	struct db_txn *txn;

	group_run(g, 5);
	atomic_store(&flush_fails, EIO);
	for (unsigned i = 0; i < 10; i++)
		g->ops[i].runs = 0;
	group_run(g, 10);
	ck_assert_uint_eq(failures, 1);
	for (unsigned i = 0; i < 10; i++)
		ck_assert_int_eq(g->ops[i].op.err.code, ERR_IO);
	/* The flush would work again: it is not trusted any more. */
	ck_fails(db_write_begin(g->env, &txn, &err), ERR_IO);
	for (unsigned i = 0; i < 10; i++)
		ck_assert_uint_eq(effect(g->env, i), i < 5 ? 1 : 0);
	group_free(g);
	ck_assert_uint_eq(failures, 1);
}
END_TEST

START_TEST(a_full_disk_is_reported_and_survived)
{
	struct group *g = group_new(1 << 20, 1 << 20, NULL);

	/* The batch fails, run one by one the operations succeed. */
	atomic_store(&flush_fails, ENOSPC);
	group_run(g, 10);
	for (unsigned i = 0; i < 10; i++) {
		ck_assert_int_eq(g->ops[i].op.err.code, ERR_NONE);
		ck_assert_uint_eq(effect(g->env, i), 1);
	}
	atomic_store(&flush_fails, ENOSPC);
	group_run(g, 1);
	ck_assert_int_eq(g->ops[0].op.err.code, ERR_NO_SPACE);
	ck_assert_uint_eq(effect(g->env, 0), 1);
	group_run(g, 1);
	ck_assert_int_eq(g->ops[0].op.err.code, ERR_NONE);
	group_free(g);
}
END_TEST

/* --- several processes --------------------------------------------------------------------------
 */
static void write_and_hang(void)
{
	struct db_env *env = fixture_open(1 << 24, 1 << 24);
	struct db_txn *txn;

	if (db_write_begin(env, &txn, NULL) < 0)
		_exit(1);
	for (unsigned i = 0; i < 100; i++) {
		char key[16];

		snprintf(key, sizeof(key), "lost%u", i);
		fixture_put(txn, key, "x");
	}
}

START_TEST(killed_in_mid_transaction)
{
	struct db_env *env = fixture_open(1 << 24, 1 << 24);
	struct db_txn *txn;
	struct db_cursor c;
	pid_t pid;

	db_env_close(env);
	pid = spawn(write_and_hang);
	env = fixture_open(1 << 24, 1 << 24);
	kill_and_wait(pid);
	/* The next writer goes on, and sees nothing of it. */
	ck_ok(db_write_begin(env, &txn, &err));
	fixture_put(txn, "kept", "1");
	ck_ok(db_commit(txn, &err));
	ck_ok(db_read_begin(env, &txn, &err));
	ck_ok(db_cursor_open(txn, &c, SPAN("lost"), &err));
	ck_assert_int_eq(db_first(&c, &err), 0);
	db_cursor_close(&c);
	db_abort(txn);
	db_env_close(env);
}
END_TEST

/* Adds one to a counter n times, each in a transaction, with 20 KB of ballast under its own key. */
static int count_up(struct db_env *env, unsigned n, char who)
{
	char *big = mem_zalloc(20000), key[16];

	for (unsigned i = 0; i < n; i++) {
		struct db_txn *txn;
		struct span val;
		uint32_t count = 0;

		if (db_write_begin(env, &txn, &err) < 0)
			return -1;
		if (db_get(txn, SPAN("count"), &val, NULL) == 0)
			memcpy(&count, val.p, sizeof(count));
		count++;
		snprintf(key, sizeof(key), "%c%u", who, i);
		if (db_put(txn, SPAN("count"), span_make(&count, sizeof(count)), &err) < 0 ||
		    db_put(txn, span_of(key), span_make(big, 20000), &err) < 0) {
			db_abort(txn);
			if (err.code != ERR_NO_SPACE || db_env_grow(env, &err) < 0)
				return -1;
			i--;
			continue;
		}
		if (db_commit(txn, &err) < 0 &&
		    (err.code != ERR_NO_SPACE || db_env_grow(env, &err) < 0 || !i--))
			return -1;
	}
	mem_free(big);
	return 0;
}

/* Two write at the same time, the map grows in both and in one that only reads. */
START_TEST(two_writers_a_growing_map_and_a_reader)
{
	pid_t pids[2];
	struct db_env *env;
	struct db_txn *txn;
	struct span val;
	uint32_t count = 0;
	uint64_t foreign, later;
	int status, left = 2;

	db_env_close(fixture_open(1 << 20, 1 << 28));
	for (int i = 0; i < 2; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			struct db_env *mine = fixture_open(1 << 20, 1 << 28);

			_exit(count_up(mine, 200, (char)('a' + i)) == 0 ? 0 : 1);
		}
	}
	env = fixture_open(1 << 20, 1 << 28);
	ck_assert(db_env_foreign(env, &foreign));
	while (left) {
		uint32_t now = 0;
		pid_t pid = waitpid(-1, &status, WNOHANG);

		if (pid > 0) {
			ck_assert_int_eq(status, 0);
			left--;
		}
		ck_ok(db_read_begin(env, &txn, &err));
		if (db_get(txn, SPAN("count"), &val, NULL) == 0)
			memcpy(&now, val.p, sizeof(now));
		ck_assert_uint_ge(now, count);
		count = now;
		db_abort(txn);
	}
	ck_ok(db_read_begin(env, &txn, &err));
	ck_ok(db_get(txn, SPAN("count"), &val, &err));
	memcpy(&count, val.p, sizeof(count));
	ck_assert_uint_eq(count, 400);
	ck_ok(db_get(txn, SPAN("a199"), &val, &err));
	db_abort(txn);
	ck_assert(db_env_foreign(env, &later));
	ck_assert_uint_gt(later, foreign);
	/* Writing adopts the larger map as well. */
	ck_assert_int_eq(count_up(env, 1, 'c'), 0);
	db_env_close(env);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("db-rules");
	TCase *tc = tcase_create("db-rules");

	tcase_add_checked_fixture(tc, fixture_setup, fixture_teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, new_files_are_flushed_before_use);
	tcase_add_test(tc, a_beginning_that_was_cut_off_is_begun_again);
	tcase_add_test(tc, mode_whatever_the_umask);
	tcase_add_test(tc, a_second_open_is_refused_and_drops_no_lock);
	tcase_add_test(tc, stale_readers_are_cleared);
	tcase_add_test(tc, a_truncated_file_is_refused);
	tcase_add_test(tc, a_file_that_ends_in_free_pages_is_not_refused);
	tcase_add_test(tc, a_foreign_file_is_refused);
	tcase_add_test(tc, network_file_systems_and_root_are_refused);
	tcase_add_test(tc, a_failed_child_is_never_committed);
	tcase_add_test(tc, a_full_map_grows_and_the_batch_is_run_again);
	tcase_add_test(tc, at_the_largest_map_the_small_ones_still_succeed);
	tcase_add_test(tc, after_a_failed_flush_nothing_is_acknowledged);
	tcase_add_test(tc, a_full_disk_is_reported_and_survived);
#ifdef MS_EMULATED
	/* The emulator has no list of robust mutexes. */
	(void)killed_in_mid_transaction;
#else
	tcase_add_test(tc, killed_in_mid_transaction);
#endif
	tcase_add_test(tc, two_writers_a_growing_map_and_a_reader);
	suite_add_tcase(suite, tc);
	return fixture_run(suite);
}
