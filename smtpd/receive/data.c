#include "smtpd/receive/data.h"

#include <string.h>

void data_init(struct data_decoder *d)
{
	*d = (struct data_decoder){.state = DATA_LINE_START};
}

static void count(struct data_decoder *d, size_t n)
{
	d->line += n;
	if (d->line > d->line_max)
		d->line_max = d->line;
}

static void emit(struct data_decoder *d, struct strbuf *out, char c)
{
	count(d, 1);
	d->bits |= (unsigned char)c;
	if (out)
		strbuf_add_chr(out, c);
}

static void end_line(struct data_decoder *d, struct strbuf *out, enum data_state next)
{
	if (out)
		strbuf_add_mem(out, "\r\n", 2);
	d->line = 0;
	d->state = next;
}

static void in_line(struct data_decoder *d, char c, struct strbuf *out)
{
	d->state = DATA_IN_LINE;
	if (c == '\r') {
		d->state = DATA_CR;
		return;
	}
	if (c == '\n' && d->lf_is_line) {
		end_line(d, out, DATA_LF_START);
		return;
	}
	if (c == '\n')
		d->has_bare_lf = true;
	if (c == '\0')
		d->has_nul = true;
	emit(d, out, c);
}

/* Behind a dot that began a line, and its CR if there was one: neither was put out yet. */
static void behind_dot(struct data_decoder *d, char c, struct strbuf *out)
{
	bool has_cr = d->state == DATA_DOT_CR || d->state == DATA_LF_DOT_CR;

	if (c == '\n' && d->state == DATA_DOT_CR) {
		d->state = DATA_END;
	} else if (c == '\n' && d->lf_is_line) {
		emit(d, out, '.');
		end_line(d, out, has_cr ? DATA_LINE_START : DATA_LF_START);
	} else if (c == '\r' && !has_cr) {
		d->state = d->state == DATA_DOT ? DATA_DOT_CR : DATA_LF_DOT_CR;
	} else {
		d->has_bare_cr |= has_cr;
		if (has_cr)
			emit(d, out, '\r');
		in_line(d, c, out);
	}
}

static void step(struct data_decoder *d, char c, struct strbuf *out)
{
	switch (d->state) {
	case DATA_LINE_START:
	case DATA_LF_START:
		if (c == '.')
			d->state = d->state == DATA_LINE_START ? DATA_DOT : DATA_LF_DOT;
		else
			in_line(d, c, out);
		break;
	case DATA_IN_LINE:
		in_line(d, c, out);
		break;
	case DATA_CR:
		if (c == '\n') {
			end_line(d, out, DATA_LINE_START);
			break;
		}
		d->has_bare_cr = true;
		emit(d, out, '\r');
		in_line(d, c, out);
		break;
	case DATA_DOT:
	case DATA_DOT_CR:
	case DATA_LF_DOT:
	case DATA_LF_DOT_CR:
		behind_dot(d, c, out);
		break;
	case DATA_END:
		break;
	}
}

/* Whether one of eight bytes is below 14, as CR, LF and NUL are. */
static bool has_low_byte(uint64_t w)
{
	const uint64_t ones = UINT64_MAX / 255;

	return ((w - ones * 14) & ~w & ones * 128) != 0;
}

/* Bytes at the front that change nothing within a line. */
static size_t plain_run(struct span in, unsigned char *bits)
{
	uint64_t all = 0;
	size_t n = 0;

	while (n < in.n) {
		uint64_t w = 0;

		if (in.n - n >= sizeof(w))
			memcpy(&w, in.p + n, sizeof(w));
		if (in.n - n >= sizeof(w) && !has_low_byte(w)) {
			all |= w;
			n += sizeof(w);
		} else if (in.p[n] != '\r' && in.p[n] != '\n' && in.p[n] != '\0') {
			all |= (unsigned char)in.p[n++];
		} else {
			break;
		}
	}
	for (; all != 0; all >>= 8)
		*bits |= (unsigned char)all;
	return n;
}

size_t data_decode(struct data_decoder *d, struct span in, struct strbuf *out)
{
	size_t used = 0;

	while (used < in.n && d->state != DATA_END) {
		size_t n = d->state == DATA_IN_LINE ? plain_run(span_from(in, used), &d->bits) : 0;

		if (n > 0) {
			strbuf_add_mem(out, in.p + used, n);
			count(d, n);
			used += n;
		} else {
			step(d, in.p[used++], out);
		}
	}
	return used;
}

void data_check_chunk(struct data_decoder *d, struct span in)
{
	for (size_t i = 0; i < in.n;) {
		size_t n = d->state == DATA_IN_LINE ? plain_run(span_from(in, i), &d->bits) : 0;

		if (n > 0) {
			count(d, n);
			i += n;
		} else if (d->state == DATA_LINE_START && in.p[i] == '.') {
			/* A dot means nothing here: keep out of the states that look for one. */
			d->state = DATA_IN_LINE;
			count(d, 1);
			i++;
		} else {
			step(d, in.p[i++], NULL);
		}
	}
}

void data_end_chunks(struct data_decoder *d)
{
	d->has_bare_cr |= d->state == DATA_CR;
}
