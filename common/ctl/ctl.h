/*
 * mailsteadctl: a command line for the admin plane. "run" and "config" happen here; every other
 * verb is a request to authd, which knows them all ("mailsteadctl help" asks it), and whose records
 * are printed as a table or as JSON.
 */
#ifndef MS_CTL_CTL_H
#define MS_CTL_CTL_H

#include "common/config/config.h"
#include "common/ipc/ipc.h"
#include "common/ipc/msg.h"

#define EXIT_FAILED 1
#define EXIT_USAGE 2
#define EXIT_UNREACHABLE 3

/* run.c: the whole appliance in the foreground, until SIGTERM or SIGINT. Returns the exit status.
 * argv is what this program was started with. */
int ctl_run(const char *conf_path, char **argv);

/* input.c */
bool read_secret(struct strbuf *secret); /* a line of standard input */
/* Appends a file; "-" is standard input. */
int read_content(const char *path, struct strbuf *content, struct err *err);

/* maint.c: verbs that the program maint does. Its answer comes on the descriptor returned (-1:
 * err), after which it is waited for. */
bool ctl_is_maint(struct span verb);
int ctl_maint_start(
    const char *conf, const struct span *words, size_t count, pid_t *pid, struct err *err);
void ctl_maint_wait(pid_t pid);
/* migrate, or with is_look whether that is to be done (*is_old, which may be NULL otherwise). What
 * it says goes to text. -1: err. */
int ctl_migrate(const char *conf, bool is_look, bool *is_old, struct strbuf *text, struct err *err);

/* clock.c: only where MAILSTEAD_CLOCK says that there is one to move (event/clock.h). */
int ctl_clock(const struct span *words, size_t count, struct err *err);

/* print.c */
struct records {
	struct strbuf *list; /* one body a record */
	size_t count, cap;
};

void records_add(struct records *r, struct span body);
void records_clear(struct records *r);
/* Rows with the same value names are one aligned table with a heading. */
void print_tables(const struct records *r);
/* Of get and diff: a line for each setting, "name = value", where it comes from if that is not the
 * default; with help, if it was asked for by name. */
void print_settings(const struct records *r, bool has_help);
/* Records of processes that did not answer, a line each. */
void print_silent(const struct records *r);
/* An array of objects. */
void print_json(const struct records *r);
/* print_dns.c: records of domain dns and check-network as text; whether something required is not
 * as it should be. */
void print_findings(const struct records *r);
bool has_bad_finding(const struct records *r);
void print_json_string(struct span s); /* invalid UTF-8 becomes U+FFFD */

#endif
