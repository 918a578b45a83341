/*
 * acme: certificates from an authority that speaks ACME (RFC 8555), through Debian's uacme. keyd
 * makes key and signing request, and takes the answer: no private key of a certificate ever comes
 * here. This process keeps a book of the certificates that come this way, looks once a minute which
 * is due, and starts itself again for one of them (issue.c); that one starts uacme under a user of
 * its own (client.c), which alone talks to the network. The web server serves the answers to
 * http-01 from <run>/acme/challenge; for dns-01 the setting acme.hook names a program.
 *
 * Started as root it gives up all rights but changing to that user; it parses nothing that came
 * from the network.
 */
#ifndef MS_WEBADMIN_ACME_H
#define MS_WEBADMIN_ACME_H

#include "common/base/err.h"
#include "common/base/strbuf.h"
#include "common/config/config.h"
#include "common/daemon/identity.h"

#include <time.h>

#define ACME_ID_MAX 64
#define ACME_NAMES_MAX 1024
#define ACME_TEXT_MAX 300
#define ACME_ENTRIES_MAX 64
#define ACME_FILE_MAX 8192

struct entry {
	char id[ACME_ID_MAX + 1];
	char names[ACME_NAMES_MAX]; /* apart by spaces; "": those of the listeners */
	char text[ACME_TEXT_MAX];   /* how the last try ended */
	uint64_t last;              /* seconds since 1970; 0: not tried yet */
	uint64_t next;
	uint64_t fails; /* in a row */
};

struct book {
	int dir; /* <state>/acme */
	struct entry list[ACME_ENTRIES_MAX];
	size_t count;
};

/* --- book.c: a file for each entry, replaced as a whole ----------------------------------------
 */
int book_open(struct book *b, const struct config *cfg, struct err *err);
struct entry *book_find(struct book *b, struct span id);
/* Finds or adds; NULL: id is none, or the book is full. */
struct entry *book_add(struct book *b, struct span id, struct err *err);
int book_save(struct book *b, const struct entry *e, struct err *err);
int book_remove(struct book *b, struct entry *e, struct err *err);
/* state: "waiting", "running" */
void entry_record(const struct entry *e, const char *state, struct strbuf *record);

/* --- server.c: the control socket <run>/acme/ctl, and what is due -------------------------------
 */
int serve(const char *self, const char *conf_path, struct err *err);

/* --- issue.c: one certificate, in a process of its own ------------------------------------------
 */
/* Writes "ok TEXT", "skip TEXT" or "fail TEXT" to out_fd. */
void issue(const struct config *cfg, const char *self, const char *id, bool is_forced,
    char *const names[], int out_fd);

/* --- client.c: uacme -----------------------------------------------------------------------------
 */
/* Runs it on this request; the chain comes into cert. */
int client_run(const struct config *cfg, const char *self, const char *id, struct span csr,
    struct strbuf *cert, struct err *err);
/* What uacme calls: METHOD TYPE IDENT TOKEN AUTH. Returns the exit status. */
int hook_run(char *const words[5]);

#endif
