/* What the files of the MIME parser share. */
#ifndef MS_MAIL_MIME_INT_H
#define MS_MAIL_MIME_INT_H

#include "common/mail/mime.h"

/* Grows parts or params (an array of count items) by one, zeroed. */
struct mime_part *mime_tree_add_part(struct mime_tree *t);
struct mime_param *mime_tree_add_param(struct mime_tree *t);
/* An empty tree whose texts may take max bytes. */
struct mime_tree *mime_tree_new(size_t max);
/* Copies s to the tree; .p NULL, and the tree is_truncated, once its text is full. */
struct span mime_tree_keep(struct mime_tree *t, struct span s);
/* Hangs part i below parent, behind its last child *last (MIME_NONE: it is the first). */
void mime_tree_link(struct mime_tree *t, uint32_t i, uint32_t parent, uint32_t last);

/*
 * Reads the fields of a part's header into the part: types, parameters, ids. is_message: the part
 * is a whole message, so it gets an envelope. The part's default type is message/rfc822 in a
 * digest. boundary is set to the boundary parameter (empty if there is none).
 */
void mime_fields_read(
    struct mime_tree *t, uint32_t i, struct span header, bool is_message, struct strbuf *boundary);

/* Takes the parameters of a field into t->params, from *first on. RFC 2231 section 6: continued
 * ones are joined, which an IMAP server has to do. */
void mime_params_read(struct mime_tree *t, struct mime_value *v, uint32_t *first, uint32_t *count);

#endif
