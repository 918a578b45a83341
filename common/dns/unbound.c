#include "common/dns/unbound.h"

#include "common/base/mem.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#ifndef UNBOUND_SONAME
#define UNBOUND_SONAME "libunbound.so.8"
#endif

static const struct {
	const char *name;
	size_t at; /* in struct unbound */
} functions[] = {
    {"ub_ctx_create", offsetof(struct unbound, ctx_create)},
    {"ub_ctx_delete", offsetof(struct unbound, ctx_delete)},
    {"ub_ctx_async", offsetof(struct unbound, ctx_async)},
    {"ub_ctx_set_option", offsetof(struct unbound, ctx_set_option)},
    {"ub_ctx_set_fwd", offsetof(struct unbound, ctx_set_fwd)},
    {"ub_ctx_add_ta_file", offsetof(struct unbound, ctx_add_ta_file)},
    {"ub_ctx_zone_add", offsetof(struct unbound, ctx_zone_add)},
    {"ub_fd", offsetof(struct unbound, fd)},
    {"ub_process", offsetof(struct unbound, process)},
    {"ub_resolve_async", offsetof(struct unbound, resolve_async)},
    {"ub_resolve_free", offsetof(struct unbound, resolve_free)},
    {"ub_cancel", offsetof(struct unbound, cancel)},
    {"ub_strerror", offsetof(struct unbound, strerror)},
};

static struct unbound unbound;

static int find_all(void *library, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(functions); i++) {
		void *found = dlsym(library, functions[i].name);

		if (!found)
			return err_set(err, ERR_UNSUPPORTED, "%s has no %s", UNBOUND_SONAME,
			    functions[i].name);
		memcpy((char *)&unbound + functions[i].at, &found, sizeof(found));
	}
	return 0;
}

const struct unbound *unbound_load(struct err *err)
{
	static bool is_there;
	void *library;

	if (is_there)
		return &unbound;
	library = dlopen(UNBOUND_SONAME, RTLD_NOW | RTLD_LOCAL);
	if (!library) {
		const char *why = dlerror();

		err_set(err, ERR_NOT_FOUND, "dns: %s", why ? why : UNBOUND_SONAME);
		return NULL;
	}
	if (find_all(library, err) < 0) {
		dlclose(library);
		return NULL;
	}
	is_there = true;
	return &unbound;
}
