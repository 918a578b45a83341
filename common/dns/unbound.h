/*
 * libunbound, loaded when it is needed: with the libraries that it brings it takes 0.7 MB of a
 * process that may never ask a name server. dns.c only; loop thread.
 */
#ifndef MS_DNS_UNBOUND_H
#define MS_DNS_UNBOUND_H

#include "common/base/err.h"

#include <unbound.h>

/* The functions of that name. */
struct unbound {
	__typeof__(ub_ctx_create) *ctx_create;
	__typeof__(ub_ctx_delete) *ctx_delete;
	__typeof__(ub_ctx_async) *ctx_async;
	__typeof__(ub_ctx_set_option) *ctx_set_option;
	__typeof__(ub_ctx_set_fwd) *ctx_set_fwd;
	__typeof__(ub_ctx_add_ta_file) *ctx_add_ta_file;
	__typeof__(ub_ctx_zone_add) *ctx_zone_add;
	__typeof__(ub_fd) *fd;
	__typeof__(ub_process) *process;
	__typeof__(ub_resolve_async) *resolve_async;
	__typeof__(ub_resolve_free) *resolve_free;
	__typeof__(ub_cancel) *cancel;
	__typeof__(ub_strerror) *strerror;
};

/* NULL: it is not installed. The same one every time. */
const struct unbound *unbound_load(struct err *err);

#endif
