#include "webadmin/acme/acme.h"

#include "common/daemon/process.h"
#include "common/daemon/sandbox.h"
#include "common/log/log.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* It, uacme and uacme's hook, which may be the administrator's program. An authority's own
 * certificate is put into uacme's place for it by a mount in a namespace (client.c), which Landlock
 * forbids to everybody: then without. */
static int enter_sandbox(const struct config *cfg, struct err *err)
{
	char state[CONFIG_PATH_MAX], run[CONFIG_PATH_MAX];
	const char *const write[SANDBOX_PATHS] = {state, run, "/tmp"};

	if (config_str(cfg, SET_ACME_CA_FILE)[0] != '\0')
		return 0;
	if (config_state_path(cfg, "acme", state, err) < 0 ||
	    config_run_path(cfg, "acme", run, err) < 0)
		return -1;
	return sandbox_enter_launcher(write, false, err);
}

static int issue_one(const char *self, char **argv)
{
	struct err err = ERR_INIT;
	struct config *cfg;
	int out = process_link_fd();

	if (out < 0)
		return EXIT_USAGE;
	if (config_load(argv[2], &cfg, &err) < 0 || enter_sandbox(cfg, &err) < 0) {
		dprintf(out, "fail %s", err.text);
		return EXIT_CONFIG;
	}
	issue(cfg, self, argv[4], strcmp(argv[5], "forced") == 0, argv + 6, out);
	config_unref(cfg);
	return 0;
}

int main(int argc, char **argv)
{
	struct err err = ERR_INIT;
	char self[PATH_MAX], conf[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	/* uacme's hook. */
	if (argc == 6 && strcmp(argv[1], "-c") != 0)
		return hook_run(argv + 1);
	if (n <= 0 || argc < 3 || strcmp(argv[1], "-c") != 0 || (argc != 3 && argc < 6)) {
		fprintf(stderr, "usage: acme -c FILE\n");
		return EXIT_USAGE;
	}
	self[n] = '\0';
	log_open("acme", 2);
	process_settle();
	if (argc > 3)
		return strcmp(argv[3], "--issue") == 0 ? issue_one(self, argv) : EXIT_USAGE;
	if (!realpath(argv[2], conf))
		err_errno(&err, 2, "%s", argv[2]);
	else if (serve(self, conf, &err) == 0)
		return 0;
	fprintf(stderr, "acme: %s\n", err.text);
	return EXIT_CONFIG;
}
