/*
 * Arguments of verbs. Each function that gives false or NULL has ended the call with an error that
 * says what was found and what is expected.
 */
#ifndef MS_AUTHD_ARGS_H
#define MS_AUTHD_ARGS_H

#include "common/authd/call.h"

/* An existing account, by its main address. */
struct account *arg_account(struct call *call, uint32_t i);
/* The account of the web session. */
struct account *arg_own_account(struct call *call);
/* An address in a domain of ours that is neither an account nor an alias; an alias' may be a
 * subaddress. */
bool arg_new_address(struct call *call, struct span arg, bool is_alias, struct name *nm,
    char text[NAME_TEXT_MAX + 1]);
/* True, and the call ended: an alias points to this account or alias. One of both is NULL. */
bool arg_is_target(struct call *call, const struct account *acc, const struct alias *al);
bool arg_bool(struct call *call, uint32_t i, bool *out);
/* A number, with K, M, G behind it when these are bytes; "none" is 0. */
bool arg_amount(struct call *call, uint32_t i, bool is_bytes, uint64_t *out);
/* "smtp,imap": bits of enum protocol_bit within allowed. "none" is none. */
bool arg_protocols(struct call *call, uint32_t i, uint32_t allowed, uint32_t *out);
void protocols_text(uint32_t bits, char out[32]);

/* "... list [DOMAIN] [--after ADDRESS]": by address, at most LIST_PAGE, and ends the call. */
#define LIST_PAGE 10000
void list_addresses(struct call *call, struct hash *h, struct span (*address)(const void *p),
    void (*show)(struct call *call, const void *p));
/* The same without its end, for which list_end is there. False: the call has failed. */
bool list_each(struct call *call, struct hash *h, struct span (*address)(const void *p),
    void (*show)(struct call *call, const void *p), bool *are_more);
void list_end(struct call *call, bool are_more);

#endif
