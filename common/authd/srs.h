/*
 * The sender rewriting scheme: mail that is forwarded to another server leaves with a sender of
 * ours, since the original's SPF does not know us; what comes back to it goes to the original. A
 * keyed hash and a day stand in it, so that nobody can send through it what we did not forward.
 *
 *   SRS0=HHHHHH=DD=domain=local@our.domain         of alice@domain
 *   SRS1=HHHHHH=other.domain==TAIL@our.domain      of SRS0=TAIL@other.domain, another forwarder's
 *
 * The hash does not look at case: mail servers on the way may change it. Pure.
 */
#ifndef MS_AUTHD_SRS_H
#define MS_AUTHD_SRS_H

#include "common/mail/address.h"

#define SRS_KEY_LEN 32
#define SRS_DAYS 21                        /* how long an answer may take */
#define SRS_MAX (2 * MAIL_DOMAIN_MAX + 64) /* bytes of an address of this kind */

bool srs_is_one(struct span local);
/* false: it stays as it is (the result would be no address any more). */
bool srs_forward(const unsigned char key[SRS_KEY_LEN], struct span sender, struct span our_domain,
    int64_t now, char out[SRS_MAX + 1]);
/* Whom an address of this kind stands for. false: forged, too old, or not of this kind. */
bool srs_reverse(
    const unsigned char key[SRS_KEY_LEN], struct span local, int64_t now, char out[SRS_MAX + 1]);

#endif
