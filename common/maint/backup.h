/*
 * A backup is a folder:
 *   generations/<time>/store|queue|auth/data.mdb   consistent, compacted copies
 *   generations/<time>/state/...                   settings, keys and certificates
 *   generations/<time>/mailstead.conf, accounts    accounts: "number address" a line
 *   generations/<time>/summary, verified           what it holds; when all of it was read
 *   blob/store, blob/queue                         large bodies, shared by the generations
 * A generation gets its name when all of it is durable and was looked at: what has no name yet
 * begins with a dot, is nobody's, and goes with the next backup. One that goes loses its name
 * first.
 */
#ifndef MS_MAINT_BACKUP_H
#define MS_MAINT_BACKUP_H

#include "common/maint/maint.h"

#define BACKUP_PATH 1024
#define BACKUP_NAME_LEN 16 /* 20261125T031500Z */
#define GENERATIONS_MAX 1000

/* path = a/b/c; false if it does not fit. */
bool path_join(char out[BACKUP_PATH], const char *a, const char *b, const char *c);
/* Regular files and folders below from, into to (made), durable; sockets and links are left. */
int tree_copy(const char *from, const char *to, struct err *err);
int file_copy(const char *from, const char *to, struct err *err);
/* An environment that is there, by its folder. */
int env_open_at(const char *dir, size_t map_size, struct db_env **env, struct err *err);
bool is_generation(const char *name); /* is it the name of one? */
/* The newest generation, or the one named; -1 if there is none. */
int generation_find(
    const char *backup, struct span wanted, char out[BACKUP_NAME_LEN + 1], struct err *err);
struct generations {
	char list[GENERATIONS_MAX][BACKUP_NAME_LEN + 1]; /* oldest first */
	size_t n;
};
int generations_list(const char *backup, struct generations *all, struct err *err);
/* The folder that this word of the command names, or the setting; NULL (and said) without. */
const char *backup_folder(struct maint *m, size_t word);
/* generations.c: a record for each, newest first; and reading every byte of one. */
int backup_list(struct maint *m, const char *dir);
int backup_verify(struct maint *m);
/*
 * Takes recipients out of the copy of a queue whose body is not among blobs: they were finished
 * after the copy was made, and before the files were.
 */
int queue_copy_settle(const char *dir, size_t map_size, struct blob_dir *blobs, struct err *err);
/* Below this much free space nothing more is written. */
#define SPACE_FLOOR ((uint64_t)64 << 20)
/* Is there room for so many bytes more? */
int space_check(const char *path, uint64_t bytes, struct err *err);

#endif
