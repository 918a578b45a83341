/*
 * cert ...: a command while it runs. It is decoded and its options are sorted on the loop; a key,
 * if the verb makes one, is made on one thread; run works on the shelf on another; records and end
 * go out on the loop again.
 */
#ifndef MS_KEYD_VERBS_H
#define MS_KEYD_VERBS_H

#include "common/keyd/keyd.h"
#include "common/keyd/pki.h"
#include "common/keyd/shelf.h"

enum option {
	OPT_KEY,
	OPT_DAYS,
	OPT_CN,
	OPT_O,
	OPT_OU,
	OPT_L,
	OPT_ST,
	OPT_C,
	OPT_INSTALL, /* from here on: without a value */
	OPT_FORCE,
	OPT_CURRENT,
	OPT_PREVIOUS,
	OPT_CANDIDATE,
	OPT_PENDING,
	OPT_COUNT
};

struct job;

struct cert_verb {
	const char *name;
	uint32_t options; /* bits of enum option */
	bool has_id, has_names, makes_key;
	int (*run)(struct job *j, struct err *err);
	const char *usage;
};

struct job {
	struct work work;
	struct keyd *k;
	struct config *cfg;
	struct admin_request rq;
	const struct cert_verb *verb;
	struct strbuf body; /* own copy of the command: cmd points into it; wiped */
	struct ipc_admin cmd;
	char id[KEY_ID_MAX + 1];
	struct span options[OPT_COUNT];
	uint32_t given; /* bits of enum option */
	struct span names[IPC_ADMIN_WORDS];
	size_t name_count;
	int64_t now;
	EVP_PKEY *key;      /* makes_key: there when run is called */
	struct strbuf rows; /* records, each a byte string */
	char text[300];     /* of the good end */
	bool has_changed;   /* what is served: monitors are told */
	struct err err;
};

bool job_has(const struct job *j, enum option o);
/* Adds a record to the answer and clears it. */
void job_record(struct job *j, struct strbuf *record);
void job_text(struct job *j, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The slot that --previous, --candidate or --pending names; otherwise the given one. */
enum slot job_slot(const struct job *j, enum slot otherwise);
/* Reads what is in a slot; to be cleared if it returned 0. */
int job_bundle(
    const struct job *j, const char *id, enum slot slot, struct pki_bundle *b, struct err *err);

/* cert_show.c */
int cert_list(struct job *j, struct err *err);
int cert_show(struct job *j, struct err *err);
int cert_export_chain(struct job *j, struct err *err);
/* A record with the decoded view of a certificate or request. */
void add_view(struct job *j, const char *what, const struct pki_bundle *b);
/* cert_make.c */
int cert_new(struct job *j, struct err *err);
int cert_csr(struct job *j, struct err *err);
int cert_answer(struct job *j, struct err *err);
int cert_import(struct job *j, struct err *err);
/* cert_install.c */
int cert_check(struct job *j, struct err *err);
int cert_install(struct job *j, struct err *err);
int cert_rollback(struct job *j, struct err *err);
int cert_remove(struct job *j, struct err *err);
int cert_staple(struct job *j, struct err *err);
/* Puts the bundle into the candidate's place, reports on it and, with --install, installs it. */
int take_candidate(struct job *j, enum origin origin, const struct pki_bundle *b, size_t left_out,
    struct err *err);

#endif
