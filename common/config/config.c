#include "common/config/config_int.h"

#include "common/base/mem.h"

#include <stdio.h>
#include <string.h>

#define DEVICE_BITS_MIN 8 /* a network of devices that need no password */

#define BOOL T_BOOL
#define NUMBER T_NUMBER
#define SIZE T_SIZE
#define SECONDS T_SECONDS
#define TEXT T_TEXT
#define PATH T_PATH
#define HOST T_HOST
#define WORD T_WORD
#define LIST T_LIST
#define TIMES T_TIMES
#define NETS T_NETS
#define RELOAD false
#define RESTART true
#if UINTPTR_MAX > UINT32_MAX
#define BY_WIDTH(wide, narrow) wide
#else
#define BY_WIDTH(wide, narrow) narrow
#endif

const struct setting_def config_settings[SET_COUNT] = {
#define SETTING(id, name, type, min, max, def, apply, help)                                        \
	[SET_##id] = {name, type, min, max, def, apply, help},
#define LISTENER_SETTING(id, key, type, min, max, def, help)
#include "common/config/settings.def"
#undef SETTING
#undef LISTENER_SETTING
};

const struct setting_def config_listener_keys[LKEY_COUNT] = {
#define SETTING(id, name, type, min, max, def, apply, help)
#define LISTENER_SETTING(id, key, type, min, max, def, help)                                       \
	[LKEY_##id] = {key, type, min, max, def, false, help},
#include "common/config/settings.def"
#undef SETTING
#undef LISTENER_SETTING
};

/* The listeners that exist without any file: only what differs from the keys' defaults. */
static const struct {
	const char *name, *role, *address, *port, *tls, *auth, *enabled;
} builtin[] = {
    {"smtp", "smtp", "*", "25", "offered", "no", "yes"},
    {"smtp-alt", "smtp", "*", "26", "offered", "no", "no"},
    {"submission", "submission", "*", "587", "required", "yes", "yes"},
    {"submissions", "submission", "*", "465", "implicit", "yes", "yes"},
    {"submission-alt", "submission", "*", "2525", "required", "yes", "yes"},
    {"lmtp", "lmtp", "127.0.0.1", "24", "none", "no", "no"},
    {"lmtp-unix", "lmtp", "/run/mailstead/lmtp.sock", "24", "none", "no", "no"},
    {"imap", "imap", "*", "143", "offered", "yes", "yes"},
    {"imaps", "imap", "*", "993", "implicit", "yes", "yes"},
    {"pop3", "pop3", "*", "110", "offered", "yes", "yes"},
    {"pop3s", "pop3", "*", "995", "implicit", "yes", "yes"},
};

static const char *const role_names[] = {
    "smtp", "submission", "imap", "pop3", "lmtp", "device", "web"};
static const char *const stance_names[] = {"none", "offered", "required", "implicit"};

const char *listener_role_name(enum listener_role r)
{
	return role_names[r];
}

const char *tls_stance_name(enum tls_stance t)
{
	return stance_names[t];
}

static unsigned index_of(const char *const *names, size_t n, const char *word)
{
	for (unsigned i = 0; i < n; i++)
		if (strcmp(names[i], word) == 0)
			return i;
	return 0;
}

const struct setting_def *config_find_setting(struct span name, enum setting *id)
{
	for (int i = 0; i < SET_COUNT; i++) {
		if (span_eq(name, span_of(config_settings[i].name))) {
			*id = (enum setting)i;
			return &config_settings[i];
		}
	}
	return NULL;
}

static bool is_listener_name(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!(s.p[i] >= 'a' && s.p[i] <= 'z') && !ascii_is_digit(s.p[i]) && s.p[i] != '-')
			return false;
	return s.n > 0 && s.n <= 32;
}

bool config_split_listener(struct span name, struct span *listener, enum listener_key *key)
{
	ssize_t dot;

	if (!span_starts(name, SPAN("listener.")))
		return false;
	name = span_from(name, 9);
	dot = span_chr(name, '.');
	if (dot < 0)
		return false;
	*listener = span_sub(name, 0, (size_t)dot);
	name = span_from(name, (size_t)dot + 1);
	for (int i = 0; i < LKEY_COUNT; i++) {
		if (span_eq(name, span_of(config_listener_keys[i].name))) {
			*key = (enum listener_key)i;
			return is_listener_name(*listener);
		}
	}
	return false;
}

/* --- the nearest known name, for a typing error ----------------------------------------------- */
#define NAME_LEN_MAX 64

static size_t distance(struct span a, struct span b)
{
	size_t row[NAME_LEN_MAX + 1];

	if (a.n > NAME_LEN_MAX || b.n > NAME_LEN_MAX)
		return NAME_LEN_MAX;
	for (size_t j = 0; j <= b.n; j++)
		row[j] = j;
	for (size_t i = 1; i <= a.n; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= b.n; j++) {
			size_t best = diagonal + (a.p[i - 1] != b.p[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[b.n];
}

int config_unknown_name(struct span name, struct err *err)
{
	const char *nearest = NULL;
	size_t best = 4;

	for (int i = 0; i < SET_COUNT; i++) {
		size_t d = distance(name, span_of(config_settings[i].name));

		if (d < best) {
			best = d;
			nearest = config_settings[i].name;
		}
	}
	return err_set(err, ERR_INVALID, "found \"%.*s\", expected the name of a setting%s%s",
	    name.n < 80 ? (int)name.n : 80, name.p, nearest ? ", perhaps " : "",
	    nearest ? nearest : "");
}

/* --- building --------------------------------------------------------------------------------- */
static int set_value(struct value *v, const struct setting_def *d, const char *text,
    const struct config_file *file, unsigned line, struct err *err)
{
	uint64_t number;

	if (config_value_parse(d, span_of(text), &number, err) < 0)
		return -1;
	mem_free(v->text);
	*v = (struct value){mem_strdup(text), number, file, line};
	return 0;
}

static struct listener *find_listener(struct config *c, struct span name)
{
	for (size_t i = 0; i < c->listener_count; i++)
		if (span_eq(span_of(c->listeners[i].name), name))
			return &c->listeners[i];
	return NULL;
}

static struct listener *add_listener(struct config *c, struct span name)
{
	struct listener *l;

	c->listeners = mem_grow(c->listeners, c->listener_count + 1, sizeof(*c->listeners));
	l = &c->listeners[c->listener_count++];
	memset(l, 0, sizeof(*l));
	memcpy(l->name, name.p, name.n);
	for (int k = 0; k < LKEY_COUNT; k++)
		if (set_value(&l->values[k], &config_listener_keys[k], config_listener_keys[k].def,
			NULL, 0, NULL) < 0)
			fatal("default of listener key %s", config_listener_keys[k].name);
	return l;
}

static void set_defaults(struct config *c)
{
	for (int i = 0; i < SET_COUNT; i++)
		if (set_value(&c->values[i], &config_settings[i], config_settings[i].def, NULL, 0,
			NULL) < 0)
			fatal("default of %s", config_settings[i].name);
	for (size_t i = 0; i < ARRAY_LEN(builtin); i++) {
		struct listener *l = add_listener(c, span_of(builtin[i].name));
		const char *const texts[] = {builtin[i].role, builtin[i].address, builtin[i].port,
		    builtin[i].tls, builtin[i].auth, builtin[i].enabled};
		const enum listener_key keys[] = {
		    LKEY_ROLE, LKEY_ADDRESS, LKEY_PORT, LKEY_TLS, LKEY_AUTH, LKEY_ENABLED};

		for (size_t k = 0; k < ARRAY_LEN(keys); k++)
			set_value(&l->values[keys[k]], &config_listener_keys[keys[k]], texts[k],
			    NULL, 0, NULL);
	}
}

static int apply_one(
    struct config *c, const struct config_file *f, const struct assignment *a, struct err *err)
{
	enum setting id;
	enum listener_key key;
	struct span name;
	struct listener *l;

	if (config_find_setting(a->name, &id)) {
		if (set_value(&c->values[id], &config_settings[id], a->value, f, a->line, err) == 0)
			return 0;
		return err_wrap(err, "%s:%u: %s", f->path, a->line, config_settings[id].name);
	}
	if (!config_split_listener(a->name, &name, &key)) {
		config_unknown_name(a->name, err);
		return err_wrap(err, "%s:%u", f->path, a->line);
	}
	l = find_listener(c, name);
	if (!l && c->listener_count == CONFIG_LISTENERS_MAX)
		return err_set(err, ERR_LIMIT,
		    "%s:%u: found listener \"%.*s\", expected at most %d listeners", f->path,
		    a->line, (int)name.n, name.p, CONFIG_LISTENERS_MAX);
	if (!l)
		l = add_listener(c, name);
	if (set_value(&l->values[key], &config_listener_keys[key], a->value, f, a->line, err) < 0)
		return err_wrap(err, "%s:%u: %.*s", f->path, a->line,
		    a->name.n < 80 ? (int)a->name.n : 80, a->name.p);
	return 0;
}

static int apply(struct config *c, const struct config_file *f, struct err *err)
{
	for (size_t i = 0; i < f->count; i++)
		if (apply_one(c, f, &f->list[i], err) < 0)
			return -1;
	return 0;
}

/* A socket that no file names stands where the others do. */
static void follow_run(const struct config *c, struct value *address)
{
	static const struct span folder = SPAN_INIT("/run/mailstead/");
	char path[CONFIG_PATH_MAX];

	if (address->file || !span_starts(span_of(address->text), folder) ||
	    config_run_path(c, address->text + folder.n, path, NULL) < 0)
		return;
	mem_free(address->text);
	address->text = mem_strdup(path);
}

static void fill_device(const struct value *v, struct config_listener *o)
{
	snprintf(o->device_sender, sizeof(o->device_sender), "%s", v[LKEY_DEVICE_SENDER].text);
	snprintf(o->device_from, sizeof(o->device_from), "%s", v[LKEY_DEVICE_FROM].text);
	snprintf(o->device_to, sizeof(o->device_to), "%s", v[LKEY_DEVICE_TO].text);
}

static void fill_listener(const struct config *c, struct listener *l)
{
	const struct value *v = l->values;
	struct config_listener *o = &l->out;
	const char *host = v[LKEY_HOSTNAME].text;

	snprintf(o->name, sizeof(o->name), "%s", l->name);
	o->enabled = v[LKEY_ENABLED].number;
	o->role = index_of(role_names, ARRAY_LEN(role_names), v[LKEY_ROLE].text);
	follow_run(c, &l->values[LKEY_ADDRESS]);
	snprintf(o->address, sizeof(o->address), "%s", v[LKEY_ADDRESS].text);
	o->port = (uint16_t)v[LKEY_PORT].number;
	o->tls = index_of(stance_names, ARRAY_LEN(stance_names), v[LKEY_TLS].text);
	o->auth = v[LKEY_AUTH].number;
	o->login_without_tls = v[LKEY_PLAIN_LOGIN].number;
	snprintf(o->certificates, sizeof(o->certificates), "%s", v[LKEY_CERTIFICATE].text);
	/* "1.2": one of four words, value.c saw to that. */
	o->tls_min = 10 + (unsigned)(v[LKEY_TLS_MIN].text[2] - '0');
	o->ask_client_certificate = strcmp(v[LKEY_CLIENT_CERTIFICATE].text, "ask") == 0;
	snprintf(o->proxy_from, sizeof(o->proxy_from), "%s", v[LKEY_PROXY_FROM].text);
	o->connections = v[LKEY_LISTENER_CONNECTIONS].number;
	fill_device(v, o);
	o->protocol_log = v[LKEY_PROTOCOL_LOG].number;
	snprintf(o->hostname, sizeof(o->hostname), "%s",
	    host[0] ? host : c->values[SET_SERVER_HOSTNAME].text);
}

static bool is_clash(const struct config_listener *a, const struct config_listener *b)
{
	const char *x = a->address, *y = b->address;
	bool is_same = strcmp(x, y) == 0;

	if (x[0] == '/' || y[0] == '/')
		return is_same;
	return a->port == b->port && (is_same || strcmp(x, "*") == 0 || strcmp(y, "*") == 0);
}

static int check_clash(const struct listener *a, const struct listener *b, struct err *err)
{
	const struct value *v = &b->values[LKEY_PORT];

	if (!a->out.enabled || !b->out.enabled || !is_clash(&a->out, &b->out))
		return 0;
	return err_set(err, ERR_INVALID,
	    "%s:%u: listener.%s.port: found %u, expected a port that listener.%s has not taken",
	    v->file ? v->file->path : "default", v->line, b->name, b->out.port, a->name);
}

/* "scanner@example.org": authd knows whether there is such an account. */
static bool is_address(struct span s)
{
	ssize_t at = span_chr(s, '@');

	for (size_t i = 0; i < s.n; i++)
		if (ascii_is_ctl(s.p[i]) || s.p[i] == ' ' || s.p[i] == '<' || s.p[i] == '>')
			return false;
	return at > 0 && (size_t)at + 1 < s.n;
}

/* Not everybody's: a device's sender is believed. */
static bool is_devices(struct span list)
{
	struct span word;

	while (config_list_next(&list, &word)) {
		ssize_t slash = span_chr(word, '/');
		uint64_t bits = UINT64_MAX;

		if (slash >= 0 && (!span_u64(span_from(word, (size_t)slash + 1), 128, &bits) ||
				      bits < DEVICE_BITS_MIN))
			return false;
	}
	return true;
}

/* Addresses, and all of a domain: "@example.org". */
static bool is_recipients(struct span list)
{
	struct span word;

	while (config_list_next(&list, &word))
		if (!is_address(word) && (word.p[0] != '@' || word.n == 1))
			return false;
	return true;
}

static int check_device(const struct listener *l, struct err *err)
{
	enum listener_key key = LKEY_DEVICE_SENDER;
	const char *expected = "the address of an account";
	const struct value *at;

	if (!l->out.enabled || l->out.role != ROLE_DEVICE)
		return 0;
	if (is_address(span_of(l->out.device_sender))) {
		key = LKEY_DEVICE_FROM;
		expected = "networks of at least 8 bits";
	}
	if (key == LKEY_DEVICE_FROM && is_devices(span_of(l->out.device_from))) {
		key = LKEY_DEVICE_TO;
		expected = "addresses, or domains with an @ in front";
	}
	if (key == LKEY_DEVICE_TO && is_recipients(span_of(l->out.device_to)))
		return 0;
	at = &l->values[l->values[key].file ? key : LKEY_ROLE];
	return err_set(err, ERR_INVALID, "%s:%u: listener.%s.%s: found \"%s\", expected %s",
	    at->file ? at->file->path : "default", at->line, l->name,
	    config_listener_keys[key].name, l->values[key].text, expected);
}

/* The admin's ports, as listeners that the settings web.* describe. */
static int add_web(struct config *c, enum setting port, const char *name, struct err *err)
{
	struct listener web = {.values[LKEY_PORT] = c->values[port]};
	struct config_listener *o = &web.out;
	const struct value *v = &c->values[port];

	snprintf(o->name, sizeof(o->name), "%s", name);
	o->enabled = true;
	o->role = ROLE_WEB;
	o->port = (uint16_t)v->number;
	o->tls = port == SET_WEB_PORT ? TLS_IMPLICIT : TLS_NONE;
	o->tls_min = 12;
	snprintf(o->address, sizeof(o->address), "%s", c->values[SET_WEB_ADDRESS].text);
	snprintf(
	    o->certificates, sizeof(o->certificates), "%s", c->values[SET_WEB_CERTIFICATE].text);
	snprintf(o->hostname, sizeof(o->hostname), "%s", c->values[SET_SERVER_HOSTNAME].text);
	for (size_t i = 0; i < c->enabled_count; i++)
		if (is_clash(&c->enabled[i], o))
			return err_set(err, ERR_INVALID,
			    "%s:%u: %s: found %u, expected a port that %s has not taken",
			    v->file ? v->file->path : "default", v->line,
			    config_settings[port].name, o->port, c->enabled[i].name);
	c->enabled[c->enabled_count++] = *o;
	return 0;
}

static int finish_listeners(struct config *c, struct err *err)
{
	c->enabled = mem_array(c->listener_count + 3, sizeof(*c->enabled));
	for (size_t i = 0; i < c->listener_count; i++) {
		fill_listener(c, &c->listeners[i]);
		if (check_device(&c->listeners[i], err) < 0)
			return -1;
		for (size_t j = 0; j < i; j++)
			if (check_clash(&c->listeners[j], &c->listeners[i], err) < 0)
				return -1;
		if (c->listeners[i].out.enabled)
			c->enabled[c->enabled_count++] = c->listeners[i].out;
	}
	if (c->values[SET_WEB_PORT].number == 0)
		return 0;
	if (add_web(c, SET_WEB_PORT, "web", err) < 0)
		return -1;
	return c->values[SET_WEB_HTTP_PORT].number == 0
		   ? 0
		   : add_web(c, SET_WEB_HTTP_PORT, "web-http", err);
}

int config_build(const char *main_path, struct span main_text, const char *settings_path,
    struct span settings_text, struct config **out, struct err *err)
{
	struct config *c = mem_zalloc(sizeof(*c));

	*out = NULL;
	c->refs = 1;
	set_defaults(c);
	if (config_file_parse(&c->settings, settings_path, settings_text, err) < 0 ||
	    config_file_parse(&c->main, main_path, main_text, err) < 0 ||
	    apply(c, &c->settings, err) < 0 || apply(c, &c->main, err) < 0 ||
	    finish_listeners(c, err) < 0) {
		config_unref(c);
		return -1;
	}
	*out = c;
	return 0;
}

/* settings.conf lies in the folder that only mailstead.conf can name. */
static int settings_path_of(
    const char *main_path, struct span main_text, char out[CONFIG_PATH_MAX], struct err *err)
{
	struct config *c;
	int result;

	if (config_build(main_path, main_text, "", span_make("", 0), &c, err) < 0)
		return -1;
	result = config_state_path(c, "conf/settings.conf", out, err);
	config_unref(c);
	return result;
}

/* What it is read from, it is called settings.conf: that is where its lines will be. */
static int load(const char *path, const char *suffix, struct config **out, struct err *err)
{
	char settings_path[CONFIG_PATH_MAX], file[CONFIG_PATH_MAX + 8];
	struct strbuf text, settings;
	struct err missing;
	int result = -1;

	*out = NULL;
	strbuf_init(&text, CONFIG_FILE_MAX);
	strbuf_init(&settings, CONFIG_FILE_MAX);
	if (config_file_read(path, &text, err) < 0 ||
	    settings_path_of(path, strbuf_span(&text), settings_path, err) < 0)
		goto out;
	snprintf(file, sizeof(file), "%s%s", settings_path, suffix);
	if (config_file_read(file, &settings, &missing) < 0 && missing.code != ERR_NOT_FOUND) {
		err_set(err, missing.code, "%s", missing.text);
		goto out;
	}
	result =
	    config_build(path, strbuf_span(&text), settings_path, strbuf_span(&settings), out, err);
out:
	strbuf_clear(&text);
	strbuf_clear(&settings);
	return result;
}

int config_load(const char *path, struct config **out, struct err *err)
{
	return load(path, "", out, err);
}

int config_load_next(const char *path, struct config **out, struct err *err)
{
	return load(path, ".next", out, err);
}

struct config_texts config_texts(const struct config *c)
{
	return (struct config_texts){
	    .main_path = span_of(c->main.path),
	    .main_text = span_make(c->main.text, c->main.text_n),
	    .settings_path = span_of(c->settings.path),
	    .settings_text = span_make(c->settings.text, c->settings.text_n),
	};
}

int config_from_texts(const struct config_texts *t, struct config **out, struct err *err)
{
	char main_path[CONFIG_PATH_MAX], settings_path[CONFIG_PATH_MAX];

	*out = NULL;
	if (t->main_path.n >= sizeof(main_path) || t->settings_path.n >= sizeof(settings_path))
		return err_set(err, ERR_INVALID, "path too long: %.80s", t->main_path.p);
	snprintf(main_path, sizeof(main_path), "%.*s", SPAN_FMT(t->main_path));
	snprintf(settings_path, sizeof(settings_path), "%.*s", SPAN_FMT(t->settings_path));
	return config_build(main_path, t->main_text, settings_path, t->settings_text, out, err);
}

int config_parse(struct span text, struct config **out, struct err *err)
{
	return config_build("mailstead.conf", text, "settings.conf", span_make("", 0), out, err);
}

struct config *config_ref(struct config *c)
{
	atomic_fetch_add(&c->refs, 1);
	return c;
}

void config_unref(struct config *c)
{
	if (!c || atomic_fetch_sub(&c->refs, 1) > 1)
		return;
	for (int i = 0; i < SET_COUNT; i++)
		mem_free(c->values[i].text);
	for (size_t i = 0; i < c->listener_count; i++)
		for (int k = 0; k < LKEY_COUNT; k++)
			mem_free(c->listeners[i].values[k].text);
	mem_free(c->listeners);
	mem_free(c->enabled);
	config_file_clear(&c->main);
	config_file_clear(&c->settings);
	mem_free(c);
}

uint64_t config_u64(const struct config *c, enum setting s)
{
	return c->values[s].number;
}

bool config_bool(const struct config *c, enum setting s)
{
	return c->values[s].number != 0;
}

const char *config_str(const struct config *c, enum setting s)
{
	return c->values[s].text;
}

size_t config_listener_count(const struct config *c)
{
	return c->enabled_count;
}

const struct config_listener *config_listener(const struct config *c, size_t i)
{
	return &c->enabled[i];
}

static int join(const char *dir, const char *name, char out[CONFIG_PATH_MAX], struct err *err)
{
	int n = snprintf(out, CONFIG_PATH_MAX, "%s/%s", dir, name);

	if (n < 0 || n >= CONFIG_PATH_MAX)
		return err_set(err, ERR_INVALID, "path too long: %.80s/%.40s", dir, name);
	return 0;
}

int config_run_path(
    const struct config *c, const char *name, char out[CONFIG_PATH_MAX], struct err *err)
{
	return join(config_str(c, SET_PATHS_RUN), name, out, err);
}

int config_state_path(
    const struct config *c, const char *name, char out[CONFIG_PATH_MAX], struct err *err)
{
	return join(config_str(c, SET_PATHS_STATE), name, out, err);
}

const char *config_path(const struct config *c)
{
	return c->main.path;
}
