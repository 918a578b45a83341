/*
 * The steps that bring a database from one format to the next (db/format.h). A step works on a copy
 * that nobody else sees: it takes the transactions it needs, leaves the format's number alone, and
 * if it fails nothing has happened.
 */
#ifndef MS_MAINT_STEPS_H
#define MS_MAINT_STEPS_H

#include "common/db/db.h"

struct migration_step {
	const char *name; /* "store", "queue", "auth" */
	unsigned from;    /* to the next number */
	int (*run)(struct db_env *env, struct err *err);
};

/* The table; its end has no name. */
extern const struct migration_step migration_steps[];

#endif
