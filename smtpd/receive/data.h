/*
 * The content of DATA (RFC 5321 section 4.5.2), decoded: dots unstuffed, the end found. Pure and
 * resumable: any split of the input gives the same result. Only CR LF "." CR LF ends it; a lone CR
 * or LF never begins a line, so nothing behind one can look like the end to us and not to others
 * (SMTP smuggling). What is not allowed is noted, and the caller refuses the message after its end.
 *
 * With lf_is_line a lone LF ends a line of content and comes out as CR LF; the end is found as
 * strictly as ever, and "." alone between other line ends is content. That is safe for those whose
 * mail we send on: it leaves dot-stuffed, and with CR LF only.
 */
#ifndef MS_SMTPD_RECEIVE_DATA_H
#define MS_SMTPD_RECEIVE_DATA_H

#include "common/base/strbuf.h"

enum data_state {
	DATA_LINE_START,
	DATA_IN_LINE,
	DATA_CR,
	DATA_DOT,
	DATA_DOT_CR,
	DATA_LF_START, /* the same behind a lone LF, with lf_is_line */
	DATA_LF_DOT,
	DATA_LF_DOT_CR,
	DATA_END
};

struct data_decoder {
	enum data_state state;
	bool lf_is_line; /* set behind data_init */
	bool has_bare_cr, has_bare_lf, has_nul;
	unsigned char bits;    /* all bytes of the content, or-ed */
	size_t line, line_max; /* bytes of the current line; the longest */
};

void data_init(struct data_decoder *d);
/* Decodes in until it is used up or the end was found (state DATA_END); bytes used. Output is never
 * longer than what was used, plus two; with lf_is_line twice as long, plus two. */
size_t data_decode(struct data_decoder *d, struct span in, struct strbuf *out);
/* The same checks for BDAT (RFC 3030), whose chunks are not dot-stuffed and end by count. */
void data_check_chunk(struct data_decoder *d, struct span in);
void data_end_chunks(struct data_decoder *d); /* behind the last: a CR may stand alone */

#endif
