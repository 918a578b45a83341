#include "smtpd/send/source.h"

#define PIECE (16 * 1024)

static int feed_all(
    struct blob_dir *dir, const struct blob *blob, struct convert_plan *plan, struct err *err)
{
	struct blob_reader *reader;
	char piece[PIECE];
	size_t n = 1;
	int rc = 0;

	if (blob_open(dir, blob, &reader, err) < 0)
		return -1;
	while (rc == 0 && n > 0) {
		rc = blob_read(reader, piece, sizeof(piece), &n, err);
		if (rc == 0)
			convert_plan_feed(plan, span_make(piece, n));
	}
	blob_reader_free(reader);
	return rc;
}

int source_plan(struct blob_dir *dir, const struct blob *blob, struct convert_plan **plan,
    enum convert_status *status, struct err *err)
{
	struct convert_plan *p = convert_plan_new();

	if (feed_all(dir, blob, p, err) < 0 ||
	    (convert_plan_look(p) && feed_all(dir, blob, p, err) < 0)) {
		convert_plan_free(p);
		return -1;
	}
	*status = convert_plan_end(p);
	*plan = p;
	return 0;
}

int source_open(struct blob_dir *dir, const struct blob *blob, struct convert_plan *plan,
    struct source *out, struct err *err)
{
	*out = (struct source){.plan = plan};
	if (blob_open(dir, blob, &out->reader, err) < 0)
		return -1;
	if (plan)
		out->converter = converter_new(plan);
	return 0;
}

int source_read(struct source *s, struct strbuf *out, size_t want, struct err *err)
{
	char piece[PIECE];

	while (!s->is_done && out->n < want) {
		size_t n = 0;

		if (blob_read(s->reader, piece, sizeof(piece), &n, err) < 0)
			return -1;
		s->is_done = n == 0;
		if (!s->converter)
			strbuf_add_mem(out, piece, n);
		else if (n > 0)
			converter_feed(s->converter, span_make(piece, n), out);
		else
			converter_end(s->converter, out);
		if (out->failed)
			return err_set(err, ERR_LIMIT, "a piece of a message that is too large");
	}
	return 0;
}

int source_rewind(struct blob_dir *dir, const struct blob *blob, struct source *s, struct err *err)
{
	blob_reader_free(s->reader);
	converter_free(s->converter);
	s->converter = NULL;
	s->is_done = false;
	if (blob_open(dir, blob, &s->reader, err) < 0) {
		s->reader = NULL;
		return -1;
	}
	if (s->plan)
		s->converter = converter_new(s->plan);
	return 0;
}

void source_close(struct source *s)
{
	blob_reader_free(s->reader);
	converter_free(s->converter);
	convert_plan_free(s->plan);
	*s = (struct source){0};
}
