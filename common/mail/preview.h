/* A short plain text that shows what a message is about (IMAP's PREVIEW, RFC 8970). */
#ifndef MS_MAIL_PREVIEW_H
#define MS_MAIL_PREVIEW_H

#include "common/base/strbuf.h"

#define MAIL_PREVIEW_CHARS 200
#define MAIL_PREVIEW_TEXT (64 * 1024) /* decoded bytes of a text that are worth looking at */

/*
 * Appends at most MAIL_PREVIEW_CHARS characters of a text in valid UTF-8: white space becomes one
 * space, quoted lines are left out unless there is nothing else; of HTML only what is displayed.
 * Total, linear.
 */
bool mail_preview(struct strbuf *out, struct span utf8, bool is_html);

#endif
