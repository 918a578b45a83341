#include "common/keyd/shelf.h"

#include "common/base/mem.h"
#include "common/daemon/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INDEX "index"
#define INDEX_HEAD "mailstead-keys 1"
#define INDEX_MAX 1024
#define NUMBER_MAX 1000000000
#define REMOVED ".removed-"

static const char *const slot_names[] = {"current", "previous", "candidate", "pending"};
static const char *const origin_names[] = {"self-signed", "import", "csr"};

const char *slot_name(enum slot s)
{
	return slot_names[s];
}

const char *origin_name(enum origin o)
{
	return origin_names[o];
}

bool key_id_is_good(struct span id)
{
	if (id.n == 0 || id.n > KEY_ID_MAX || id.p[0] == '-')
		return false;
	for (size_t i = 0; i < id.n; i++)
		if (!(id.p[i] >= 'a' && id.p[i] <= 'z') && !ascii_is_digit(id.p[i]) &&
		    id.p[i] != '-')
			return false;
	return true;
}

void shelf_buf_init(struct strbuf *b)
{
	strbuf_init(b, BUNDLE_MAX);
	(void)strbuf_room(b, BUNDLE_MAX);
}

void shelf_buf_clear(struct strbuf *b)
{
	mem_wipe(b->p, b->cap);
	strbuf_clear(b);
}

/* --- folders ---------------------------------------------------------------------------------- */
static int open_below(int dir, const char *name, struct err *err)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd >= 0 ? fd : err_errno(err, errno, "%s", name);
}

/* The folder of an id; ERR_NOT_FOUND, or made with makes. */
static int open_id(const char *dir, const char *id, bool makes, struct err *err)
{
	int top, fd;

	if (!key_id_is_good(span_of(id)))
		return err_set(
		    err, ERR_INVALID, "\"%.70s\" is no certificate id: a-z, 0-9 and '-'", id);
	top = file_open_folder(dir, err);
	if (top < 0)
		return -1;
	if (makes && mkdirat(top, id, 0700) < 0 && errno != EEXIST) {
		err_errno(err, errno, "%s/%s", dir, id);
		close(top);
		return -1;
	}
	if (makes && fsync(top) < 0) {
		err_errno(err, errno, "%s", dir);
		close(top);
		return -1;
	}
	fd = open_below(top, id, err);
	close(top);
	if (fd < 0 && err && err->code == ERR_NOT_FOUND)
		err_set(err, ERR_NOT_FOUND, "no certificate %s", id);
	return fd;
}

/* Calls fn for each entry but the dots. */
static int each_entry(
    int dir, bool (*fn)(int dir, const char *name, void *arg), void *arg, struct err *err)
{
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
	struct dirent *e;
	bool goes_on = true;

	if (!d) {
		err_errno(err, errno, "list of a folder");
		if (copy >= 0)
			close(copy);
		return -1;
	}
	while (goes_on && (e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			goes_on = fn(dir, e->d_name, arg);
	closedir(d);
	return goes_on ? 0 : -1;
}

/* --- index ------------------------------------------------------------------------------------ */
static bool parse_line(struct span line, struct shelf_index *ix)
{
	struct span name, number, origin;
	uint64_t n;

	if (!span_split(&line, ' ', &name) || !span_split(&line, ' ', &number) ||
	    !span_split(&line, ' ', &origin) || line.p || !span_u64(number, NUMBER_MAX, &n))
		return false;
	for (int s = 0; s < SLOT_COUNT; s++) {
		if (!span_eq(name, span_of(slot_names[s])))
			continue;
		for (size_t o = 0; o < ARRAY_LEN(origin_names); o++) {
			if (!span_eq(origin, span_of(origin_names[o])))
				continue;
			ix->number[s] = (uint32_t)n;
			ix->origin[s] = (enum origin)o;
			return n > 0;
		}
	}
	return false;
}

static int parse_index(struct span text, struct shelf_index *ix, struct err *err)
{
	struct span line;
	unsigned number = 1;

	*ix = (struct shelf_index){0};
	if (!span_split(&text, '\n', &line) || !span_eq(line, SPAN(INDEX_HEAD)))
		return err_set(err, ERR_CORRUPT, "index:1: expected \"%s\"", INDEX_HEAD);
	while (span_split(&text, '\n', &line)) {
		number++;
		if (line.n > 0 && !parse_line(line, ix))
			return err_set(err, ERR_CORRUPT,
			    "index:%u: found \"%.*s\", expected a slot, a number and an origin",
			    number, line.n < 60 ? (int)line.n : 60, line.p);
	}
	return 0;
}

static int read_index(int fd, const char *id, struct shelf_index *ix, struct err *err)
{
	struct strbuf text;
	struct err why = ERR_INIT;
	int result = -1;

	strbuf_init(&text, INDEX_MAX);
	if (file_read(fd, INDEX, &text, &why) == 0)
		result = parse_index(strbuf_span(&text), ix, &why);
	strbuf_clear(&text);
	if (result == 0)
		return 0;
	/* A folder without an index is one that was never finished. */
	if (why.code == ERR_NOT_FOUND)
		return err_set(err, ERR_NOT_FOUND, "no certificate %s", id);
	return err_set(err, why.code, "certificate %s: %s", id, why.text);
}

static int write_index(int fd, const struct shelf_index *ix, struct err *err)
{
	struct strbuf text;
	int result;

	strbuf_init(&text, INDEX_MAX);
	strbuf_add_str(&text, INDEX_HEAD "\n");
	for (int s = 0; s < SLOT_COUNT; s++)
		if (ix->number[s] > 0)
			strbuf_addf(&text, "%s %u %s\n", slot_names[s], ix->number[s],
			    origin_names[ix->origin[s]]);
	result = file_write(fd, INDEX, 0600, strbuf_span(&text), err);
	strbuf_clear(&text);
	return result;
}

/* "12.pem", "12.ocsp": the number; 0 for other names. */
static uint32_t number_of(const char *name)
{
	struct span s = span_of(name);
	uint64_t n;

	if (!span_take_u64(&s, NUMBER_MAX, &n) || n == 0)
		return 0;
	return span_eq(s, SPAN(".pem")) || span_eq(s, SPAN(".ocsp")) ? (uint32_t)n : 0;
}

static bool is_named(const struct shelf_index *ix, uint32_t number)
{
	for (int s = 0; s < SLOT_COUNT; s++)
		if (number > 0 && ix->number[s] == number)
			return true;
	return false;
}

static bool sweep_entry(int dir, const char *name, void *arg)
{
	if (strcmp(name, INDEX) != 0 && !is_named(arg, number_of(name)))
		(void)unlinkat(dir, name, 0);
	return true;
}

/* Removes what the index does not name: what a crash left, or a change dropped. */
static void sweep(int fd, const struct shelf_index *ix)
{
	struct shelf_index copy = *ix;

	(void)each_entry(fd, sweep_entry, &copy, NULL);
}

/* --- opening ---------------------------------------------------------------------------------- */
static void remove_tree(int top, const char *name)
{
	struct shelf_index none = {0};
	int fd = open_below(top, name, NULL);

	if (fd < 0)
		return;
	(void)unlinkat(fd, INDEX, 0);
	sweep(fd, &none);
	close(fd);
	(void)unlinkat(top, name, AT_REMOVEDIR);
}

static bool sweep_id(int top, const char *name, void *arg)
{
	struct shelf_index ix = {0};
	struct err err = ERR_INIT;
	int fd;

	if (span_starts(span_of(name), SPAN(REMOVED))) {
		remove_tree(top, name);
		return true;
	}
	if (!key_id_is_good(span_of(name)) || (fd = open_below(top, name, NULL)) < 0)
		return true;
	/* Without an index nothing was ever promised; a broken one is left for people to see. */
	if (read_index(fd, name, &ix, &err) == 0)
		sweep(fd, &ix);
	close(fd);
	return true;
}

int shelf_open(const char *dir, struct err *err)
{
	struct stat st;
	int fd;

	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return err_errno(err, errno, "%s", dir);
	fd = file_open_folder(dir, err);
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) < 0)
		err_errno(err, errno, "%s", dir);
	else if (st.st_uid != geteuid())
		err_set(err, ERR_DENIED, "%s: belongs to uid %u, expected %u", dir,
		    (unsigned)st.st_uid, (unsigned)geteuid());
	else if (st.st_mode & 077)
		err_set(err, ERR_DENIED, "%s: mode %04o, expected 0700: others could read keys",
		    dir, (unsigned)st.st_mode & 07777);
	else if (each_entry(fd, sweep_id, NULL, err) == 0) {
		close(fd);
		return 0;
	}
	close(fd);
	return -1;
}

struct each_id {
	void (*fn)(void *arg, const char *id);
	void *arg;
};

static bool show_id(int top, const char *name, void *arg)
{
	struct each_id *each = arg;
	struct stat st;
	char path[KEY_ID_MAX + sizeof("/" INDEX)];

	if (!key_id_is_good(span_of(name)))
		return true;
	snprintf(path, sizeof(path), "%s/" INDEX, name);
	if (fstatat(top, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
		each->fn(each->arg, name);
	return true;
}

int shelf_each(const char *dir, void (*fn)(void *arg, const char *id), void *arg, struct err *err)
{
	struct each_id each = {fn, arg};
	int fd = file_open_folder(dir, err);
	int result;

	if (fd < 0)
		return -1;
	result = each_entry(fd, show_id, &each, err);
	close(fd);
	return result;
}

/* --- reading ---------------------------------------------------------------------------------- */
int shelf_index_get(const char *dir, const char *id, struct shelf_index *ix, struct err *err)
{
	int fd = open_id(dir, id, false, err);
	int result;

	if (fd < 0)
		return -1;
	result = read_index(fd, id, ix, err);
	close(fd);
	return result;
}

static void bundle_name(char out[32], uint32_t number, const char *ending)
{
	snprintf(out, 32, "%u.%s", number, ending);
}

int shelf_read(
    const char *dir, const char *id, enum slot slot, struct strbuf *bundle, struct err *err)
{
	struct shelf_index ix = {0};
	char name[32];
	int fd = open_id(dir, id, false, err);
	int result = -1;

	if (fd < 0)
		return -1;
	if (read_index(fd, id, &ix, err) < 0)
		goto out;
	if (ix.number[slot] == 0) {
		err_set(err, ERR_NOT_FOUND, "certificate %s: nothing is %s", id, slot_names[slot]);
		goto out;
	}
	bundle_name(name, ix.number[slot], "pem");
	result = file_read(fd, name, bundle, err);
	if (result < 0)
		err_wrap(err, "certificate %s", id);
out:
	close(fd);
	return result;
}

/* --- changes ---------------------------------------------------------------------------------- */
static bool find_largest(int dir, const char *name, void *arg)
{
	uint32_t *largest = arg;
	uint32_t n = number_of(name);

	if (n > *largest)
		*largest = n;
	return true;
}

static uint32_t next_number(int fd, const struct shelf_index *ix)
{
	uint32_t largest = 0;

	(void)each_entry(fd, find_largest, &largest, NULL);
	for (int s = 0; s < SLOT_COUNT; s++)
		if (ix->number[s] > largest)
			largest = ix->number[s];
	return largest + 1;
}

int shelf_put(const char *dir, const char *id, enum slot slot, enum origin origin,
    struct span bundle, struct err *err)
{
	struct shelf_index ix = {0};
	struct err why = ERR_INIT;
	char name[32];
	int result = -1;
	int fd = open_id(dir, id, true, err);

	if (fd < 0)
		return -1;
	if (read_index(fd, id, &ix, &why) < 0 && why.code != ERR_NOT_FOUND) {
		err_set(err, why.code, "%s", why.text);
		goto out;
	}
	/* An index that is not there yet names nothing. */
	if (why.code == ERR_NOT_FOUND)
		ix = (struct shelf_index){0};
	ix.number[slot] = next_number(fd, &ix);
	ix.origin[slot] = origin;
	bundle_name(name, ix.number[slot], "pem");
	if (file_write(fd, name, 0600, bundle, err) < 0 || write_index(fd, &ix, err) < 0)
		goto out;
	sweep(fd, &ix);
	result = 0;
out:
	close(fd);
	return result;
}

/* Reads the index, lets fn change it, writes it. */
static int change(const char *dir, const char *id,
    int (*fn)(struct shelf_index *ix, int what, struct err *err), int what, struct err *err)
{
	struct shelf_index ix = {0};
	int result = -1;
	int fd = open_id(dir, id, false, err);

	if (fd < 0)
		return -1;
	if (read_index(fd, id, &ix, err) == 0) {
		if (fn(&ix, what, err) < 0)
			err_wrap(err, "certificate %s", id);
		else if (write_index(fd, &ix, err) == 0)
			result = 0;
	}
	if (result == 0)
		sweep(fd, &ix);
	close(fd);
	return result;
}

static void move_slot(struct shelf_index *ix, enum slot to, enum slot from)
{
	ix->number[to] = ix->number[from];
	ix->origin[to] = ix->origin[from];
	ix->number[from] = 0;
}

static int install(struct shelf_index *ix, int drops_pending, struct err *err)
{
	if (ix->number[SLOT_CANDIDATE] == 0)
		return err_set(err, ERR_NOT_FOUND, "there is no candidate to install");
	if (ix->number[SLOT_CURRENT] > 0)
		move_slot(ix, SLOT_PREVIOUS, SLOT_CURRENT);
	move_slot(ix, SLOT_CURRENT, SLOT_CANDIDATE);
	if (drops_pending)
		ix->number[SLOT_PENDING] = 0;
	return 0;
}

int shelf_install(const char *dir, const char *id, bool drops_pending, struct err *err)
{
	return change(dir, id, install, drops_pending, err);
}

static int swap(struct shelf_index *ix, int unused, struct err *err)
{
	uint32_t number = ix->number[SLOT_CURRENT];
	enum origin origin = ix->origin[SLOT_CURRENT];

	if (ix->number[SLOT_PREVIOUS] == 0)
		return err_set(err, ERR_NOT_FOUND, "there is no previous one to go back to");
	move_slot(ix, SLOT_CURRENT, SLOT_PREVIOUS);
	ix->number[SLOT_PREVIOUS] = number;
	ix->origin[SLOT_PREVIOUS] = origin;
	return 0;
}

int shelf_rollback(const char *dir, const char *id, struct err *err)
{
	return change(dir, id, swap, 0, err);
}

static int empty_slot(struct shelf_index *ix, int slot, struct err *err)
{
	if (ix->number[slot] == 0)
		return err_set(err, ERR_NOT_FOUND, "nothing is %s", slot_names[slot]);
	ix->number[slot] = 0;
	return 0;
}

int shelf_drop(const char *dir, const char *id, enum slot slot, struct err *err)
{
	struct shelf_index ix = {0};

	if (change(dir, id, empty_slot, (int)slot, err) < 0 ||
	    shelf_index_get(dir, id, &ix, err) < 0)
		return -1;
	for (int s = 0; s < SLOT_COUNT; s++)
		if (ix.number[s] > 0)
			return 0;
	return shelf_remove(dir, id, err);
}

int shelf_remove(const char *dir, const char *id, struct err *err)
{
	char to[KEY_ID_MAX + sizeof(REMOVED)];
	struct shelf_index ix = {0};
	int result = -1;
	int top;

	if (shelf_index_get(dir, id, &ix, err) < 0)
		return -1;
	top = file_open_folder(dir, err);
	if (top < 0)
		return -1;
	snprintf(to, sizeof(to), REMOVED "%s", id);
	remove_tree(top, to);
	/* The rename is the removal; the files go then, or at the next start. */
	if (renameat(top, id, top, to) < 0 || fsync(top) < 0) {
		err_errno(err, errno, "%s/%s", dir, id);
	} else {
		remove_tree(top, to);
		result = 0;
	}
	close(top);
	return result;
}

/* --- staples ---------------------------------------------------------------------------------- */
int shelf_staple_put(const char *dir, const char *id, struct span der, struct err *err)
{
	struct shelf_index ix = {0};
	char name[32];
	int result = -1;
	int fd = open_id(dir, id, false, err);

	if (fd < 0)
		return -1;
	if (read_index(fd, id, &ix, err) < 0)
		goto out;
	if (ix.number[SLOT_CURRENT] == 0) {
		err_set(err, ERR_NOT_FOUND, "certificate %s: nothing is installed", id);
		goto out;
	}
	bundle_name(name, ix.number[SLOT_CURRENT], "ocsp");
	if (der.n == 0)
		result = unlinkat(fd, name, 0) == 0 || errno == ENOENT
			     ? 0
			     : err_errno(err, errno, "%s", name);
	else
		result = file_write(fd, name, 0600, der, err);
out:
	close(fd);
	return result;
}

int shelf_staple_get(const char *dir, const char *id, struct strbuf *der, struct err *err)
{
	struct shelf_index ix = {0};
	char name[32];
	int result = -1;
	int fd = open_id(dir, id, false, err);

	if (fd < 0)
		return -1;
	if (read_index(fd, id, &ix, err) == 0) {
		bundle_name(name, ix.number[SLOT_CURRENT], "ocsp");
		result = file_read(fd, name, der, err);
	}
	close(fd);
	return result;
}
