/*
 * Where keyd keeps certificates: below <state>/keys a folder for each certificate id, and in it
 * bundles (private key, then chain or request, in PEM) under numbers,
 * and one text file "index" that says which bundle is what. Only the rename of index makes a
 * change, so a crash at any moment leaves all of the old or all of the new; bundles that no index
 * names are swept at the next start.
 *
 * All calls block: start-up or a worker thread, changes of an id one after the other. Buffers that
 * hold a bundle come from shelf_buf_init.
 */
#ifndef MS_KEYD_SHELF_H
#define MS_KEYD_SHELF_H

#include "common/base/err.h"
#include "common/base/strbuf.h"

#include <stdint.h>

#define KEY_ID_MAX 64
#define BUNDLE_MAX (56 * 1024) /* sixteen of them fit into one message */
#define STAPLE_MAX (8 * 1024)

enum slot {
	SLOT_CURRENT,   /* what is served */
	SLOT_PREVIOUS,  /* what was served before: one step back */
	SLOT_CANDIDATE, /* came in, was reported on, waits for the word */
	SLOT_PENDING,   /* a key and its signing request, waits for the CA's answer */
	SLOT_COUNT
};

/* How a bundle came about: keyd renews by itself only what it signed itself. */
enum origin { ORIGIN_SELF, ORIGIN_IMPORT, ORIGIN_CSR };

struct shelf_index {
	uint32_t number[SLOT_COUNT]; /* 0: empty */
	enum origin origin[SLOT_COUNT];
};

const char *slot_name(enum slot s);
const char *origin_name(enum origin o);
bool key_id_is_good(struct span id); /* a-z, 0-9, '-', 1 to 64 of them, not '-' first */

/* Makes the folder (0700), refuses one that others can read, sweeps what a crash left behind. */
int shelf_open(const char *dir, struct err *err);
/* Calls fn for each id, in no order. */
int shelf_each(const char *dir, void (*fn)(void *arg, const char *id), void *arg, struct err *err);
/* ERR_NOT_FOUND: no such id. */
int shelf_index_get(const char *dir, const char *id, struct shelf_index *ix, struct err *err);
/* ERR_NOT_FOUND: no such id, or nothing in that slot. */
int shelf_read(
    const char *dir, const char *id, enum slot slot, struct strbuf *bundle, struct err *err);
/* Puts a bundle into a slot (not PREVIOUS); what was in it is dropped. Makes the id. */
int shelf_put(const char *dir, const char *id, enum slot slot, enum origin origin,
    struct span bundle, struct err *err);
/* The candidate becomes current, what was current previous; the request is dropped if it was
 * answered by this. */
int shelf_install(const char *dir, const char *id, bool drops_pending, struct err *err);
/* Current and previous change places. */
int shelf_rollback(const char *dir, const char *id, struct err *err);
/* Empties a slot other than CURRENT; an id with nothing left goes. */
int shelf_drop(const char *dir, const char *id, enum slot slot, struct err *err);
int shelf_remove(const char *dir, const char *id, struct err *err);
/* The OCSP response stapled to what is current. An empty one takes it away. */
int shelf_staple_put(const char *dir, const char *id, struct span der, struct err *err);
int shelf_staple_get(const char *dir, const char *id, struct strbuf *der, struct err *err);

void shelf_buf_init(struct strbuf *b); /* all at once: no copies behind */
void shelf_buf_clear(struct strbuf *b);

#endif
