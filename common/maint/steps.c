#include "common/maint/steps.h"

/* There is one format so far. */
const struct migration_step migration_steps[] = {{0}};
