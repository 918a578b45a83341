/* Settings as text: for the admin's listing and editing, the sample file and the manual page. */
#include "common/config/config_int.h"

#include "common/base/mem.h"

#include <stdio.h>

static void each_value(const char *name, const struct setting_def *d, const struct value *v,
    void (*fn)(void *arg, const struct config_value *v), void *arg)
{
	struct config_value out = {
	    .name = name,
	    .value = v->text,
	    .type = config_type_name(d->type),
	    .help = d->help,
	    .origin = v->file ? v->file->path : "default",
	    .line = v->line,
	    .is_restart = d->is_restart,
	};

	fn(arg, &out);
}

void config_each(
    const struct config *c, void (*fn)(void *arg, const struct config_value *v), void *arg)
{
	char name[128];

	for (int i = 0; i < SET_COUNT; i++)
		each_value(config_settings[i].name, &config_settings[i], &c->values[i], fn, arg);
	for (size_t i = 0; i < c->listener_count; i++) {
		const struct listener *l = &c->listeners[i];

		for (int k = 0; k < LKEY_COUNT; k++) {
			snprintf(name, sizeof(name), "listener.%s.%s", l->name,
			    config_listener_keys[k].name);
			each_value(name, &config_listener_keys[k], &l->values[k], fn, arg);
		}
	}
}

static const struct setting_def *find_def(struct span name)
{
	enum setting id;
	enum listener_key key;
	struct span listener;
	const struct setting_def *d = config_find_setting(name, &id);

	if (!d && config_split_listener(name, &listener, &key))
		d = &config_listener_keys[key];
	return d;
}

int config_check(struct span name, struct span value, struct err *err)
{
	const struct setting_def *d = find_def(name);
	uint64_t number;

	if (!d)
		return config_unknown_name(name, err);
	if (config_value_parse(d, value, &number, err) < 0)
		return err_wrap(err, "%.*s", (int)name.n, name.p);
	return 0;
}

static void add_line(struct strbuf *text, struct span name, struct span value)
{
	strbuf_add(text, name);
	strbuf_add_str(text, " = \"");
	for (size_t i = 0; i < value.n; i++) {
		if (value.p[i] == '"' || value.p[i] == '\\')
			strbuf_add_chr(text, '\\');
		strbuf_add_chr(text, value.p[i]);
	}
	strbuf_add_str(text, "\"\n");
}

static int refuse_if_in_main(const struct config *c, struct span name, struct err *err)
{
	for (size_t i = 0; i < c->main.count; i++)
		if (span_eq(c->main.list[i].name, name))
			return err_set(err, ERR_DENIED,
			    "%.*s is set in %s, line %u: change it there", (int)name.n, name.p,
			    c->main.path, c->main.list[i].line);
	return 0;
}

static bool is_edited(const struct config_edit *edits, size_t count, struct span name)
{
	for (size_t i = 0; i < count; i++)
		if (span_eq(edits[i].name, name))
			return true;
	return false;
}

/* Of several edits of one name the last counts. */
static bool is_last(const struct config_edit *edits, size_t count, size_t i)
{
	return !is_edited(edits + i + 1, count - i - 1, edits[i].name);
}

int config_edit(const struct config *c, const struct config_edit *edits, size_t count,
    struct strbuf *text, struct err *err)
{
	struct config *next;

	for (size_t i = 0; i < count; i++)
		if (!find_def(edits[i].name))
			return config_unknown_name(edits[i].name, err);
	for (size_t i = 0; i < count; i++)
		if (refuse_if_in_main(c, edits[i].name, err) < 0 ||
		    (edits[i].value.p && config_check(edits[i].name, edits[i].value, err) < 0))
			return -1;
	strbuf_reset(text);
	strbuf_add_str(
	    text, "# Written by mailstead. The administrator's file is mailstead.conf.\n");
	for (size_t i = 0; i < c->settings.count; i++)
		if (!is_edited(edits, count, c->settings.list[i].name))
			add_line(
			    text, c->settings.list[i].name, span_of(c->settings.list[i].value));
	for (size_t i = 0; i < count; i++)
		if (edits[i].value.p && is_last(edits, count, i))
			add_line(text, edits[i].name, edits[i].value);
	if (text->failed || text->n > CONFIG_FILE_MAX)
		return err_set(err, ERR_LIMIT, "settings.conf would be too long");
	if (config_build(c->main.path, span_make(c->main.text, c->main.text_n), c->settings.path,
		strbuf_span(text), &next, err) < 0)
		return -1;
	config_unref(next);
	return 0;
}

/* Comment lines of at most 98 columns. */
static void add_wrapped(struct strbuf *out, const char *text)
{
	struct span rest = span_of(text);
	struct span word;
	size_t column = 0;

	while (span_split(&rest, ' ', &word)) {
		if (column == 0 || column + 1 + word.n > 96) {
			strbuf_add_str(out, column == 0 ? "# " : "\n# ");
			column = 2;
		} else {
			strbuf_add_chr(out, ' ');
			column++;
		}
		strbuf_add(out, word);
		column += word.n;
	}
	strbuf_add_chr(out, '\n');
}

static void sample_value(void *arg, const struct config_value *v)
{
	struct strbuf *out = arg;

	/* The keys of a listener are explained once, at the first. */
	if (!span_starts(span_of(v->name), SPAN("listener.")) ||
	    span_starts(span_of(v->name), SPAN("listener.smtp.")))
		add_wrapped(out, v->help);
	strbuf_addf(out, "#%s = %s\n", v->name, v->value[0] ? v->value : "\"\"");
}

void config_sample(struct strbuf *out)
{
	struct config *c;

	if (config_parse(span_make("", 0), &c, NULL) < 0)
		fatal("the defaults do not load");
	strbuf_add_str(out,
	    "# mailstead.conf: every setting with its default. Remove the '#' to change "
	    "one.\n# What stands here wins over what the admin set.\n\n");
	config_each(c, sample_value, out);
	config_unref(c);
}

/* roff takes a line that begins with a dot or a quote as its own. */
static void man_words(struct strbuf *out, const char *text)
{
	if (text[0] == '.' || text[0] == '\'')
		strbuf_add_str(out, "\\&");
	for (; *text; text++) {
		if (*text == '\\')
			strbuf_add_str(out, "\\e");
		else if (*text == '-')
			strbuf_add_str(out, "\\-");
		else
			strbuf_add_chr(out, *text);
	}
}

static void man_text(struct strbuf *out, const char *text)
{
	man_words(out, text);
	strbuf_add_chr(out, '\n');
}

static void man_entry(struct strbuf *out, const struct setting_def *d)
{
	strbuf_add_str(out, ".TP\n.B ");
	man_text(out, d->name);
	man_text(out, d->help);
	strbuf_addf(out, "(%s%s; default ", config_type_name(d->type),
	    d->is_restart ? "; needs a restart" : "");
	man_words(out, d->def[0] ? d->def : "empty");
	strbuf_add_str(out, ")\n");
}

void config_man(struct strbuf *out)
{
	strbuf_add_str(out, ".TH MAILSTEAD.CONF 5 \"\" mailstead\n.SH NAME\n"
			    "mailstead.conf \\- settings of the mailstead mail server\n"
			    ".SH DESCRIPTION\nLines are \"name = value\"; '#' begins a comment. "
			    "Sizes take K, M, G or T, times s, m, h or d.\n.PP\n"
			    "What is not set here comes from settings.conf in the folder\n"
			    ".BR paths.state ,\nwhich the web admin and\n"
			    ".B mailsteadctl set\nwrite, and else from the default.\n"
			    "A setting that needs a restart takes effect when its programs "
			    "start again, the others after\n.BR \"mailsteadctl reload\" .\n"
			    ".SH SETTINGS\n");
	for (int i = 0; i < SET_COUNT; i++)
		man_entry(out, &config_settings[i]);
	strbuf_add_str(out, ".SH LISTENERS\nA port is described by lines listener.NAME.KEY.\n");
	for (int i = 0; i < LKEY_COUNT; i++)
		man_entry(out, &config_listener_keys[i]);
	strbuf_add_str(out, ".SH SEE ALSO\n.BR mailstead (7),\n.BR mailsteadctl (8)\n");
}
