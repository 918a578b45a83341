/*
 * MTA-STS (RFC 8461): the policy with which a domain says how its mail servers are to be spoken to,
 * and the DNS record that announces it. Pure; any thread. Spans point into the text.
 */
#ifndef MS_MAIL_MTA_STS_H
#define MS_MAIL_MTA_STS_H

#include "common/base/err.h"
#include "common/base/strbuf.h"

#define STS_TEXT_MAX (64 * 1024) /* bytes of a policy */
#define STS_ID_MAX 32
#define STS_AGE_MAX 31557600u /* seconds: a year */

enum sts_mode {
	STS_NONE,    /* no policy any more */
	STS_TESTING, /* what fails is reported, and the mail sent all the same */
	STS_ENFORCE, /* only to hosts that are named, over TLS with a certificate that names them */
};

struct sts_policy {
	enum sts_mode mode;
	uint32_t max_age; /* seconds; more than STS_AGE_MAX counts as that */
	size_t mx_count;
	struct span text; /* sts_mx_next reads the patterns from it */
};

/*
 * Total. Lines end with LF or CR LF. The first of a field counts, fields that are not known are
 * passed over. Refused: another version, a mode or age that is missing or malformed, an mx that is
 * no host name or "*." and one, none of them unless the mode is none, a NUL, and whatever is no
 * field.
 */
int sts_policy_parse(struct span text, struct sts_policy *out, struct err *err);
/* Takes the next pattern off text (a policy's that was parsed); false at the end. */
bool sts_mx_next(struct span *text, struct span *mx);
/* Whether a pattern names the host: itself, or a "*" for exactly its first label. */
bool sts_policy_allows(const struct sts_policy *p, struct span host);
/* The policy without what is not known of it, lines ending with LF. */
void sts_policy_format(const struct sts_policy *p, struct strbuf *out);
const char *sts_mode_name(enum sts_mode m);

/* The id in a TXT record of _mta-sts; false: it is no MTA-STS record, or a malformed one. */
bool sts_record_id(struct span txt, struct span *id);
/* It claims to be one: it counts even if it is malformed. */
bool sts_record_is(struct span txt);

#endif
