/* Instead of common/db/format.c: a version whose store and accounts have another format. */
#include "common/db/format.h"

#include <string.h>

unsigned db_format_of(const char *name)
{
	return strcmp(name, "queue") == 0 ? 1 : 2;
}
