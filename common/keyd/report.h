/*
 * What is said about a certificate before it is installed: does the key work, do the names cover
 * the host names clients connect to, is the chain complete and trusted, how long is it good, and
 * who will complain. Blocking (it reads the system's CA bundle).
 */
#ifndef MS_KEYD_REPORT_H
#define MS_KEYD_REPORT_H

#include "common/keyd/pki.h"

enum finding_level { FINDING_OK, FINDING_WARNING, FINDING_ERROR };

struct finding {
	enum finding_level level;
	const char *check; /* "key", "names", "chain", "expiry", "signature", "client" */
	char text[300];
};

#define FINDINGS_MAX 64

struct report {
	struct finding list[FINDINGS_MAX];
	size_t count;
	bool has_error; /* not installed without being forced */
};

struct report_options {
	const char *const *hosts; /* that this certificate is served for */
	size_t host_count;
	const char *ca_file; /* instead of the system's bundle, if not empty */
	int64_t now;
	size_t left_out; /* certificates that came with it and do not belong */
};

const char *finding_level_name(enum finding_level level);
void report_make(const struct pki_bundle *b, const struct report_options *o, struct report *out);

#endif
