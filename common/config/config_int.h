/* Inside of config: the table, values, and parsed files. */
#ifndef MS_CONFIG_CONFIG_INT_H
#define MS_CONFIG_CONFIG_INT_H

#include "common/config/config.h"

#include <stdatomic.h>

#define CONFIG_LISTENERS_MAX 256

enum value_type {
	T_BOOL,
	T_NUMBER,
	T_SIZE,
	T_SECONDS,
	T_TEXT,
	T_PATH,
	T_HOST,
	T_WORD,
	T_LIST,
	T_TIMES,
	T_NETS
};

struct setting_def {
	const char *name; /* of a listener's: the key */
	enum value_type type;
	uint64_t min, max;
	const char *def;
	bool is_restart;
	const char *help;
};

enum listener_key {
#define SETTING(id, name, type, min, max, def, apply, help)
#define LISTENER_SETTING(id, key, type, min, max, def, help) LKEY_##id,
#include "common/config/settings.def"
#undef SETTING
#undef LISTENER_SETTING
	LKEY_COUNT
};

extern const struct setting_def config_settings[SET_COUNT];
extern const struct setting_def config_listener_keys[LKEY_COUNT];

/* One "name = value" of a file. */
struct assignment {
	struct span name;
	char *value; /* unquoted */
	unsigned line;
};

struct config_file {
	char *path; /* as in error texts and origins */
	char *text;
	size_t text_n;
	struct assignment *list;
	size_t count, cap;
};

struct value {
	char *text;
	uint64_t number;
	const struct config_file *file; /* NULL: default */
	unsigned line;
};

struct listener {
	char name[33];
	struct value values[LKEY_COUNT];
	struct config_listener out;
};

struct config {
	_Atomic unsigned refs;
	struct config_file main, settings;
	struct value values[SET_COUNT];
	struct listener *listeners;
	size_t listener_count;
	struct config_listener *enabled;
	size_t enabled_count;
};

/* value.c */
/* Checks text against d; on failure err says what was found and expected, without a name. */
int config_value_parse(
    const struct setting_def *d, struct span text, uint64_t *number, struct err *err);
const char *config_type_name(enum value_type t);

/* file.c */
/* Splits text (copied) into assignments; err names path and line. */
int config_file_parse(struct config_file *f, const char *path, struct span text, struct err *err);
void config_file_clear(struct config_file *f);
/* ERR_NOT_FOUND if it is not there. */
int config_file_read(const char *path, struct strbuf *out, struct err *err);

/* config.c */
int config_build(const char *main_path, struct span main_text, const char *settings_path,
    struct span settings_text, struct config **out, struct err *err);
/* "listener.NAME.KEY" -> its parts; false if it is not of this form. */
bool config_split_listener(struct span name, struct span *listener, enum listener_key *key);
const struct setting_def *config_find_setting(struct span name, enum setting *id);
int config_unknown_name(struct span name, struct err *err); /* always -1; names the nearest */

#endif
