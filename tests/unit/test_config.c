/* Settings: every kind of value at its borders, every error with file, line, found and expected;
 * editing, the sample file read back, listeners. */
#include "common/base/utf8.h"
#include "common/config/config_int.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static struct config *parse(const char *text)
{
	struct config *c;
	struct err err;

	ck_assert_msg(config_parse(span_of(text), &c, &err) == 0, "%s", err.text);
	return c;
}

static void refuse(const char *text, const char *want)
{
	struct config *c = (struct config *)1;
	struct span in = exact(text, strlen(text));
	struct err err = ERR_INIT;

	ck_assert_msg(config_parse(in, &c, &err) < 0, "%s", text);
	ck_assert_ptr_null(c);
	ck_assert_str_eq(err.text, want);
	exact_free(in);
}

#define WEB 2 /* the listeners that web.* describes */

/* --- values ----------------------------------------------------------------------------------- */
START_TEST(every_default_is_valid)
{
	for (int i = 0; i < SET_COUNT + LKEY_COUNT; i++) {
		const struct setting_def *d =
		    i < SET_COUNT ? &config_settings[i] : &config_listener_keys[i - SET_COUNT];
		uint64_t number;
		struct err err;

		ck_assert_msg(config_value_parse(d, span_of(d->def), &number, &err) == 0, "%s: %s",
		    d->name, err.text);
		ck_assert_uint_le(d->min, d->max);
		ck_assert(d->help[strlen(d->help) - 1] == '.');
	}
}
END_TEST

static bool number_is(enum value_type type, uint64_t max, const char *text, uint64_t *out)
{
	const struct setting_def d = {.name = "x", .type = type, .max = max};
	struct span in = exact(text, strlen(text));
	struct err err;
	bool result = config_value_parse(&d, in, out, &err) == 0;

	ck_assert(result || strstr(err.text, "expected a number"));
	exact_free(in);
	return result;
}

START_TEST(numbers)
{
	static const char *const bad[] = {"", " ", "-1", "+1", "1 K", "K", "1KK", "1.5M", "0x10",
	    "1e3", "99999999999999999999999999999999999999", "1x", "\xc2\xb2"};
	uint64_t v;

	for (size_t i = 0; i < ARRAY_LEN(edge_numbers); i++) {
		uint64_t want = 0;
		bool fits = span_u64(span_of(edge_numbers[i]), UINT64_MAX, &want);

		ck_assert_int_eq(number_is(T_NUMBER, UINT64_MAX, edge_numbers[i], &v), fits);
		ck_assert(!fits || v == want);
		ck_assert(
		    !fits || want == 0 || !number_is(T_NUMBER, want - 1, edge_numbers[i], &v));
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		ck_assert_msg(!number_is(T_NUMBER, UINT64_MAX, bad[i], &v), "%s", bad[i]);
		ck_assert_msg(!number_is(T_SIZE, UINT64_MAX, bad[i], &v), "%s", bad[i]);
		ck_assert_msg(!number_is(T_SECONDS, UINT64_MAX, bad[i], &v), "%s", bad[i]);
	}
	ck_assert(number_is(T_SIZE, UINT64_MAX, "3K", &v) && v == 3072);
	ck_assert(number_is(T_SIZE, UINT64_MAX, "3m", &v) && v == 3145728);
	ck_assert(number_is(T_SIZE, UINT64_MAX, "1G", &v) && v == 1073741824);
	ck_assert(number_is(T_SIZE, UINT64_MAX, "16777215T", &v) && v == 16777215ull << 40);
	ck_assert(!number_is(T_SIZE, UINT64_MAX, "16777216T", &v)); /* 2^64 */
	ck_assert(number_is(T_SECONDS, UINT64_MAX, "2d", &v) && v == 172800);
	ck_assert(number_is(T_SECONDS, UINT64_MAX, "90m", &v) && v == 5400);
	ck_assert(number_is(T_SECONDS, UINT64_MAX, "2H", &v) && v == 7200);
	ck_assert(number_is(T_SECONDS, UINT64_MAX, "7s", &v) && v == 7);
	ck_assert(!number_is(T_SECONDS, UINT64_MAX, "213503982334602d", &v)); /* over 2^64 */
	ck_assert(!number_is(T_NUMBER, UINT64_MAX, "1K", &v) &&
		  !number_is(T_SECONDS, UINT64_MAX, "1K", &v) &&
		  !number_is(T_SIZE, UINT64_MAX, "1h", &v));
}
END_TEST

static const char *check(const char *name, const char *value)
{
	static struct err err;

	err = (struct err)ERR_INIT;
	return config_check(span_of(name), span_of(value), &err) == 0 ? "" : err.text;
}

START_TEST(texts)
{
	char label[80], host[300] = "";

	ck_assert_str_eq(check("server.hostname", "mail.example.test"), "");
	ck_assert_str_eq(check("server.hostname", "1.2.3.4"), "");
	memset(label, 'a', sizeof(label));
	label[63] = '\0';
	ck_assert_str_eq(check("server.hostname", label), "");
	label[63] = 'a';
	label[64] = '\0';
	ck_assert_str_ne(check("server.hostname", label), "");
	for (size_t n = 250; n <= 256; n++) {
		memset(host, 'a', n);
		for (size_t i = 50; i < n; i += 50)
			host[i] = '.';
		host[n] = '\0';
		if (host[n - 1] == '.')
			continue;
		ck_assert_int_eq(check("server.hostname", host)[0] == '\0', n <= 253);
	}
	static const char *const bad[] = {
	    "", ".", "a.", ".a", "a..b", "-a", "a-", "a_b", "a b", "a\xc3\xa4", "[::1]", "a\tb"};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_msg(check("server.hostname", bad[i])[0] != '\0', "%s", bad[i]);
	ck_assert_str_eq(check("paths.state", "state"),
	    "paths.state: found \"state\", expected an absolute path");
	ck_assert_str_eq(
	    check("paths.state", ""), "paths.state: found \"\", expected 1 to 90 bytes, not 0");
	ck_assert_str_eq(check("log.level", "loud"),
	    "log.level: found \"loud\", expected debug info warning error");
	ck_assert_str_eq(check("web.certificate", "a/b"),
	    "web.certificate: found \"a/b\", expected letters, digits, '-' and '_'");
	ck_assert_str_eq(check("address.separator", "\xff"),
	    "address.separator: found \"...\", expected valid UTF-8");
	ck_assert_str_eq(check("smtp.recipients_max", "99"),
	    "smtp.recipients_max: found \"99\", expected a number from 100 to 10000");
	ck_assert_str_eq(check("listener.x.auth", "maybe"),
	    "listener.x.auth: found \"maybe\", expected yes or no");
	ck_assert_str_eq(check("listener.x.address", "localhost"),
	    "listener.x.address: found \"localhost\", expected an IPv4 or IPv6 address, *, or a "
	    "path");
	ck_assert_str_eq(check("listener.x.address", "::1"), "");
	ck_assert_str_eq(check("listener.x.hostname", "no way"),
	    "listener.x.hostname: found \"no way\", expected a host name");
	ck_assert_str_eq(check("listener.x.hostname", ""), "");
	ck_assert_str_eq(
	    check("smtp.line", "1"), "found \"smtp.line\", expected the name of a setting");
	ck_assert_str_eq(check("smtp.recipient_max", "100"),
	    "found \"smtp.recipient_max\", expected the name of a setting, perhaps "
	    "smtp.recipients_max");
}
END_TEST

START_TEST(booleans)
{
	static const char *const yes[] = {"yes", "true", "on", "1", "YES", "On"};
	static const char *const no[] = {"no", "false", "off", "0", "FALSE", "No"};

	for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
		char text[80];

		for (int on = 0; on < 2; on++) {
			struct config *c;

			snprintf(
			    text, sizeof(text), "listener.smtp.enabled = %s", on ? yes[i] : no[i]);
			c = parse(text);
			ck_assert_uint_eq(config_listener_count(c), (on ? 8 : 7) + WEB);
			config_unref(c);
		}
	}
}
END_TEST

/* --- files ------------------------------------------------------------------------------------ */
START_TEST(syntax)
{
	struct config *c = parse("# a comment = no setting\r\n\r\n   \t\n"
				 "  smtp.recipients_max=200   # a comment\r\n"
				 "address.separator = \"#\\\"\\\\\"   # quoted\n"
				 "server.hostname\t=\tmail.example.test\n"
				 "log.level = warning");

	ck_assert_uint_eq(config_u64(c, SET_SMTP_RECIPIENTS_MAX), 200);
	ck_assert_str_eq(config_str(c, SET_ADDRESS_SEPARATOR), "#\"\\");
	ck_assert_str_eq(config_str(c, SET_SERVER_HOSTNAME), "mail.example.test");
	ck_assert_str_eq(config_str(c, SET_LOG_LEVEL), "warning");
	ck_assert_uint_eq(config_u64(c, SET_SMTP_MESSAGE_MAX), 50 << 20);
	config_unref(c);
	c = parse("address.separator = a#b");
	ck_assert_str_eq(config_str(c, SET_ADDRESS_SEPARATOR), "a#b");
	config_unref(c);
	c = parse("address.separator = #b");
	ck_assert_str_eq(config_str(c, SET_ADDRESS_SEPARATOR), "");
	config_unref(c);
}
END_TEST

START_TEST(errors_say_where_what_and_what_else)
{
	refuse("\n\nsmtp.recipients_max = 5\n",
	    "mailstead.conf:3: smtp.recipients_max: found \"5\", expected a number from 100 to "
	    "10000");
	refuse("hello\n", "mailstead.conf:1: found \"hello\", expected name = value");
	refuse("\n = 5\n", "mailstead.conf:2: found \" = 5\", expected name = value");
	refuse("smtp.recipients_max = 200\nlog.level=info\nsmtp.recipients_max = 200\n",
	    "mailstead.conf:3: found \"smtp.recipients_max\" again, expected it once (first in "
	    "line 1)");
	refuse("paths.stat = /x",
	    "mailstead.conf:1: found \"paths.stat\", expected the name of a setting, perhaps "
	    "paths.state");
	refuse("listener.smtp.portt = 25",
	    "mailstead.conf:1: found \"listener.smtp.portt\", expected the name of a setting");
	refuse("listener.SMTP.port = 25",
	    "mailstead.conf:1: found \"listener.SMTP.port\", expected the name of a setting");
	refuse("address.separator = \"+\n",
	    "mailstead.conf:1: address.separator: found \"+, expected a closing quote");
	refuse("address.separator = \"+\" -\n",
	    "mailstead.conf:1: address.separator: found \"-\" behind the closing quote, expected "
	    "the end of the line");
	refuse("listener.smtp.port = 0",
	    "mailstead.conf:1: listener.smtp.port: found \"0\", expected a number from 1 to 65535");
	refuse("listener.smtp.port = 65536",
	    "mailstead.conf:1: listener.smtp.port: found \"65536\", expected a number from 1 to "
	    "65535");
	refuse("listener.smtp.tls = starttls",
	    "mailstead.conf:1: listener.smtp.tls: found \"starttls\", expected none offered "
	    "required implicit");
	refuse("\nlistener.imaps.port = 25\n",
	    "mailstead.conf:2: listener.imaps.port: found 25, expected a port that listener.smtp "
	    "has not taken");
}
END_TEST

/* The socket of LMTP stands where the run folder is, unless a file says otherwise. */
START_TEST(a_socket_follows_the_run_folder)
{
	struct config *c = parse("paths.run = /x/run\nlistener.lmtp-unix.enabled = yes\n");
	const struct config_listener *l = NULL;

	for (size_t i = 0; i < config_listener_count(c); i++)
		if (strcmp(config_listener(c, i)->name, "lmtp-unix") == 0)
			l = config_listener(c, i);
	ck_assert_ptr_nonnull(l);
	ck_assert_str_eq(l->address, "/x/run/lmtp.sock");
	config_unref(c);
	c = parse("paths.run = /x/run\nlistener.smtp.address = /run/mailstead/lmtp.sock\n");
	ck_assert_str_eq(config_listener(c, 0)->address, "/run/mailstead/lmtp.sock");
	config_unref(c);
}
END_TEST

START_TEST(a_device_listener_says_whose_it_is)
{
	struct config *c;

	refuse("listener.x.port = 2\nlistener.x.role = device\n",
	    "mailstead.conf:2: listener.x.device_sender: found \"\", expected the address of an "
	    "account");
	refuse("listener.x.port = 2\nlistener.x.role = device\n"
	       "listener.x.device_sender = a b@c\n",
	    "mailstead.conf:3: listener.x.device_sender: found \"a b@c\", expected the address of "
	    "an account");
	refuse(
	    "listener.x.port = 2\nlistener.x.role = device\nlistener.x.device_sender = a@b.test\n"
	    "listener.x.device_from = 10.0.0.0/8, ::/7\n",
	    "mailstead.conf:4: listener.x.device_from: found \"10.0.0.0/8, ::/7\", expected "
	    "networks of at least 8 bits");
	refuse(
	    "listener.x.port = 2\nlistener.x.role = device\nlistener.x.device_sender = a@b.test\n"
	    "listener.x.device_to = a@b.test, b.test\n",
	    "mailstead.conf:4: listener.x.device_to: found \"a@b.test, b.test\", expected "
	    "addresses, "
	    "or domains with an @ in front");
	c = parse("listener.x.port = 2\nlistener.x.role = device\n"
		  "listener.x.device_sender = a@b.test\n"
		  "listener.x.device_from = 10.0.0.0/8, ::1\n"
		  "listener.x.device_to = a@b.test, @c.test\n");
	ck_assert_int_eq(config_listener(c, 8)->role, ROLE_DEVICE);
	config_unref(c);
}
END_TEST

/* A NUL, a byte that is no UTF-8, a very long line: an error or a value, never a crash. */
START_TEST(hostile_texts)
{
	struct config *c;
	struct err err;
	static char big[CONFIG_FILE_MAX];
	struct span in = exact("log.level = info\nx\0y = 1\n", 25);

	ck_assert_int_eq(config_parse(in, &c, &err), -1);
	ck_assert_str_eq(err.text, "mailstead.conf:2: found a NUL byte, expected text");
	exact_free(in);
	memset(big, 'a', sizeof(big));
	in = exact(big, sizeof(big));
	ck_assert_int_eq(config_parse(in, &c, &err), -1);
	ck_assert_uint_lt(strlen(err.text), 240);
	exact_free(in);
	big[1000] = '=';
	in = exact(big, sizeof(big));
	ck_assert_int_eq(config_parse(in, &c, &err), -1);
	exact_free(in);
	memset(big, '\n', sizeof(big));
	in = exact(big, sizeof(big));
	ck_assert_int_eq(config_parse(in, &c, &err), 0);
	config_unref(c);
	exact_free(in);
}
END_TEST

/* --- listeners -------------------------------------------------------------------------------- */
START_TEST(built_in_listeners)
{
	static const struct {
		const char *name;
		enum listener_role role;
		uint16_t port;
		enum tls_stance tls;
		bool auth;
	} want[] = {{"smtp", ROLE_SMTP, 25, TLS_OFFERED, false},
	    {"submission", ROLE_SUBMISSION, 587, TLS_REQUIRED, true},
	    {"submissions", ROLE_SUBMISSION, 465, TLS_IMPLICIT, true},
	    {"submission-alt", ROLE_SUBMISSION, 2525, TLS_REQUIRED, true},
	    {"imap", ROLE_IMAP, 143, TLS_OFFERED, true},
	    {"imaps", ROLE_IMAP, 993, TLS_IMPLICIT, true},
	    {"pop3", ROLE_POP3, 110, TLS_OFFERED, true},
	    {"pop3s", ROLE_POP3, 995, TLS_IMPLICIT, true},
	    {"web", ROLE_WEB, 443, TLS_IMPLICIT, false},
	    {"web-http", ROLE_WEB, 80, TLS_NONE, false}};
	struct config *c = parse("server.hostname = mx.example.test");

	ck_assert_uint_eq(config_listener_count(c), ARRAY_LEN(want));
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		const struct config_listener *l = config_listener(c, i);

		ck_assert_str_eq(l->name, want[i].name);
		ck_assert_int_eq(l->role, want[i].role);
		ck_assert_uint_eq(l->port, want[i].port);
		ck_assert_int_eq(l->tls, want[i].tls);
		ck_assert_int_eq(l->auth, want[i].auth);
		ck_assert(l->enabled && !l->login_without_tls);
		ck_assert_str_eq(l->address, "*");
		ck_assert_str_eq(l->certificates, "default");
		ck_assert_str_eq(l->hostname, "mx.example.test");
	}
	config_unref(c);
}
END_TEST

START_TEST(own_listeners)
{
	struct config *c = parse("listener.internal.role = submission\n"
				 "listener.internal.port = 25\n"
				 "listener.internal.address = 127.0.0.2\n"
				 "listener.internal.tls = none\n"
				 "listener.internal.login_without_tls = yes\n"
				 "listener.internal.hostname = inside.example.test\n"
				 "listener.smtp.address = 127.0.0.1\n"
				 "listener.pop3.enabled = no\n");
	const struct config_listener *l = config_listener(c, config_listener_count(c) - 1 - WEB);

	ck_assert_uint_eq(config_listener_count(c), 8 + WEB);
	ck_assert_str_eq(l->name, "internal");
	ck_assert(l->role == ROLE_SUBMISSION && l->port == 25 && l->tls == TLS_NONE);
	ck_assert(l->auth && l->login_without_tls);
	ck_assert_str_eq(l->hostname, "inside.example.test");
	for (size_t i = 0; i < config_listener_count(c); i++)
		ck_assert_str_ne(config_listener(c, i)->name, "pop3");
	config_unref(c);
	refuse("listener.a-name-that-is-longer-than-32-bad.port = 26",
	    "mailstead.conf:1: found \"listener.a-name-that-is-longer-than-32-bad.port\", expected "
	    "the name of a setting");
	/* The same port on all addresses and on one. */
	refuse("listener.x.port = 25\nlistener.x.address = 127.0.0.1",
	    "mailstead.conf:1: listener.x.port: found 25, expected a port that listener.smtp has "
	    "not taken");
	/* The web admin's ports are listeners too. */
	refuse("web.port = 25",
	    "mailstead.conf:1: web.port: found 25, expected a port that smtp has "
	    "not taken");
	refuse("listener.smtp.port = 80",
	    "default:0: web.http_port: found 80, expected a port that "
	    "smtp has not taken");
}
END_TEST

#define BUILTIN 11
#define BUILTIN_OFF 3

START_TEST(many_listeners)
{
	struct strbuf b;
	struct config *c;
	struct err err;

	strbuf_init(&b, 1 << 20);
	for (int i = 0; i < CONFIG_LISTENERS_MAX - BUILTIN; i++)
		strbuf_addf(&b, "listener.x%d.port = %d\n", i, 30000 + i);
	ck_assert_int_eq(config_parse(strbuf_span(&b), &c, &err), 0);
	ck_assert_uint_eq(config_listener_count(c), CONFIG_LISTENERS_MAX - BUILTIN_OFF + WEB);
	config_unref(c);
	strbuf_add_str(&b, "listener.last.port = 29999\n");
	ck_assert_int_eq(config_parse(strbuf_span(&b), &c, &err), -1);
	ck_assert_str_eq(err.text, "mailstead.conf:246: found listener \"last\", expected at most "
				   "256 listeners");
	strbuf_clear(&b);
}
END_TEST

/* --- editing ---------------------------------------------------------------------------------- */
static struct config *build(const char *main_text, const char *settings_text)
{
	struct config *c;
	struct err err;

	ck_assert_msg(config_build("/m.conf", span_of(main_text), "/s.conf", span_of(settings_text),
			  &c, &err) == 0,
	    "%s", err.text);
	return c;
}

static void edit(const char *main_text, const char *settings_text, const char *name,
    const char *value, const char *want, const char *want_error)
{
	struct config *c = build(main_text, settings_text);
	struct strbuf text;
	struct err err = ERR_INIT;
	int result;

	strbuf_init(&text, 4096);
	result =
	    config_edit(c, &(struct config_edit){span_of(name), span_of(value)}, 1, &text, &err);
	ck_assert_str_eq(result == 0 ? "" : err.text, want_error);
	if (result == 0) {
		struct config *again;

		ck_assert_ptr_nonnull(strstr(text.p, "# Written by mailstead"));
		ck_assert_str_eq(strchr(text.p, '\n') + 1, want);
		again = build(main_text, text.p);
		config_unref(again);
	}
	strbuf_clear(&text);
	config_unref(c);
}

START_TEST(edits)
{
	edit("", "", "log.level", "debug", "log.level = \"debug\"\n", "");
	edit("", "log.level = info\nweb.port = 1\n", "log.level", "debug",
	    "web.port = \"1\"\nlog.level = \"debug\"\n", "");
	edit("", "log.level = info\nweb.port = 1\n", "log.level", NULL, "web.port = \"1\"\n", "");
	edit("", "", "address.separator", "\"\\#", "address.separator = \"\\\"\\\\#\"\n", "");
	edit("", "", "listener.new.port", "26", "listener.new.port = \"26\"\n", "");
	edit("\nlog.level = info\n", "", "log.level", "debug", "",
	    "log.level is set in /m.conf, line 2: change it there");
	edit("", "", "log.level", "loud", "",
	    "log.level: found \"loud\", expected debug info warning error");
	edit("", "", "imap.port", "1", "", "found \"imap.port\", expected the name of a setting");
	edit("", "", "listener.imap.port", "25", "",
	    "/s.conf:2: listener.imap.port: found 25, expected a port that listener.smtp has not "
	    "taken");
}
END_TEST

static const struct config_value *found;
static const char *wanted_name;

static void find_value(void *arg, const struct config_value *v)
{
	static struct config_value copy;

	if (strcmp(v->name, wanted_name) != 0)
		return;
	copy = *v;
	found = &copy;
}

static void origin(
    const struct config *c, const char *name, const char *value, const char *file, unsigned line)
{
	found = NULL;
	wanted_name = name;
	config_each(c, find_value, NULL);
	ck_assert_ptr_nonnull(found);
	ck_assert_str_eq(found->value, value);
	ck_assert_str_eq(found->origin, file);
	ck_assert_uint_eq(found->line, line);
}

/* The administrator's file wins, and each value knows where it comes from. */
START_TEST(origins)
{
	struct config *c = build("\nlog.level = error\nlistener.smtp.port = 26\n",
	    "log.level = debug\nweb.port = 444\n");

	origin(c, "log.level", "error", "/m.conf", 2);
	origin(c, "web.port", "444", "/s.conf", 2);
	origin(c, "web.http_port", "80", "default", 0);
	origin(c, "listener.smtp.port", "26", "/m.conf", 3);
	origin(c, "listener.smtp.role", "smtp", "default", 0);
	ck_assert_str_eq(config_path(c), "/m.conf");
	config_ref(c);
	config_unref(c);
	config_unref(c);
	config_unref(NULL);
}
END_TEST

/* --- what is generated ------------------------------------------------------------------------ */
static void collect(void *arg, const struct config_value *v)
{
	strbuf_addf(arg, "%s=%s\n", v->name, v->value);
}

/* The sample with every comment sign taken away is a configuration with all the defaults. */
START_TEST(sample_round_trip)
{
	struct strbuf sample, on, a, b;
	struct span rest, line;
	struct config *c;
	struct err err;
	size_t settings = 0;

	strbuf_init(&sample, 1 << 20);
	strbuf_init(&on, 1 << 20);
	strbuf_init(&a, 1 << 20);
	strbuf_init(&b, 1 << 20);
	config_sample(&sample);
	ck_assert(!sample.failed && utf8_is_valid(strbuf_span(&sample)));
	ck_assert_int_eq(config_parse(strbuf_span(&sample), &c, &err), 0);
	config_each(c, collect, &a);
	config_unref(c);
	rest = strbuf_span(&sample);
	while (span_split(&rest, '\n', &line)) {
		ck_assert_uint_le(line.n, 100);
		if (!span_starts(line, SPAN("#")) || span_starts(line, SPAN("# ")))
			continue;
		strbuf_add(&on, span_from(line, 1));
		strbuf_add_chr(&on, '\n');
		settings++;
	}
	ck_assert_uint_eq(settings, SET_COUNT + BUILTIN * LKEY_COUNT);
	ck_assert_msg(config_parse(strbuf_span(&on), &c, &err) == 0, "%s", err.text);
	config_each(c, collect, &b);
	config_unref(c);
	ck_assert_str_eq(a.p, b.p);
	strbuf_clear(&sample);
	strbuf_clear(&on);
	strbuf_clear(&a);
	strbuf_clear(&b);
}
END_TEST

START_TEST(manual_page)
{
	struct strbuf b;
	struct span rest, line;

	strbuf_init(&b, 1 << 20);
	config_man(&b);
	ck_assert(!b.failed);
	rest = strbuf_span(&b);
	while (span_split(&rest, '\n', &line)) {
		struct span macro = span_sub(line, 0, 3), known;
		bool is_known = false;

		if (!span_starts(line, SPAN(".")))
			continue;
		/* A text that began with a dot would be taken for a macro. */
		for (struct span all =
			 SPAN(".TH .SH .TP .PP .B  .I  .RS .RE .EX .EE .nf .fi .SS .BR .IP");
		     all.n > 0; all = span_from(all, 4)) {
			known = span_trim(span_sub(all, 0, 4));
			is_known |= span_eq(span_trim(macro), known);
		}
		ck_assert_msg(is_known, "%.*s", SPAN_FMT(line));
	}
	for (int i = 0; i < SET_COUNT; i++)
		ck_assert_ptr_nonnull(strstr(b.p, config_settings[i].name));
	strbuf_clear(&b);
}
END_TEST

/* --- files on disk ---------------------------------------------------------------------------- */
static void put_file(const char *path, const char *text)
{
	FILE *out = fopen(path, "w");

	ck_assert_ptr_nonnull(out);
	fputs(text, out);
	fclose(out);
}

START_TEST(loading)
{
	char dir[64] = "/tmp/mailstead-test-XXXXXX", main_path[96], settings_path[96], text[256];
	char out[CONFIG_PATH_MAX], want[200];
	struct config *c;
	struct err err;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(main_path, sizeof(main_path), "%s/mailstead.conf", dir);
	snprintf(settings_path, sizeof(settings_path), "%s/conf/settings.conf", dir);
	snprintf(text, sizeof(text), "%s/conf", dir);
	ck_assert_int_eq(mkdir(text, 0700), 0);
	ck_assert_int_eq(config_load(main_path, &c, &err), -1);
	ck_assert_int_eq(err.code, ERR_NOT_FOUND);
	ck_assert_int_eq(config_load(dir, &c, &err), -1);
	snprintf(text, sizeof(text), "paths.state = %s\npaths.run = %s\n", dir, dir);
	put_file(main_path, text);
	ck_assert_int_eq(config_load(main_path, &c, &err), 0); /* without settings.conf */
	ck_assert_int_eq(config_state_path(c, "queue/env", out, &err), 0);
	snprintf(want, sizeof(want), "%s/queue/env", dir);
	ck_assert_str_eq(out, want);
	config_unref(c);
	put_file(settings_path, "web.port = 8443\n");
	ck_assert_int_eq(config_load(main_path, &c, &err), 0);
	ck_assert_uint_eq(config_u64(c, SET_WEB_PORT), 8443);
	config_unref(c);
	put_file(settings_path, "web.port = x\n");
	ck_assert_int_eq(config_load(main_path, &c, &err), -1);
	snprintf(want, sizeof(want),
	    "%s:1: web.port: found \"x\", expected a number from 0 to 65535", settings_path);
	ck_assert_str_eq(err.text, want);
	unlink(settings_path);
	unlink(main_path);
	snprintf(text, sizeof(text), "%s/conf", dir);
	rmdir(text);
	rmdir(dir);
}
END_TEST

START_TEST(long_paths)
{
	char name[CONFIG_PATH_MAX + 10], out[CONFIG_PATH_MAX];
	struct config *c = parse("paths.run = /run/mailstead");
	struct err err;

	memset(name, 'x', sizeof(name));
	for (size_t n = CONFIG_PATH_MAX - 20; n < CONFIG_PATH_MAX; n++) {
		name[n] = '\0';
		ck_assert_int_eq(config_run_path(c, name, out, &err),
		    n + strlen("/run/mailstead/") < CONFIG_PATH_MAX ? 0 : -1);
		name[n] = 'x';
	}
	config_unref(c);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {every_default_is_valid, numbers, texts, booleans, syntax,
	    errors_say_where_what_and_what_else, hostile_texts, built_in_listeners, own_listeners,
	    a_socket_follows_the_run_folder, hostile_texts, built_in_listeners, own_listeners,
	    a_device_listener_says_whose_it_is, hostile_texts, built_in_listeners, own_listeners,
	    many_listeners, edits, origins, sample_round_trip, manual_page, loading, long_paths};
	TCase *tc = tcase_create("config");

	unit_add(tc, tests, ARRAY_LEN(tests));
	return unit_finish(tc);
}
