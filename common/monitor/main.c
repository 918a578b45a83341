/*
 * smtpd, imapd, pop3d and web-server: the monitors, one program under four names, so that what they
 * have in common is in memory once. Which one it is says the name that it is started by.
 */
#include "common/daemon/monitor.h"

#include "common/base/mem.h"
#include "common/config/config.h"

#include <stdio.h>
#include <string.h>

static const struct monitor_role smtp_roles[] = {
    {.name = "smtpd-local", .who = WHO_LOCAL},
    {.name = "smtpd-fetch", .who = WHO_FETCH},
    {.name = "smtpd-send", .who = WHO_OUT, .signs = true},
    {.name = "smtpd-receive",
	.who = WHO_IN,
	.listeners = 1u << ROLE_SMTP | 1u << ROLE_SUBMISSION | 1u << ROLE_LMTP | 1u << ROLE_DEVICE},
};
static const struct monitor_role imap_roles[] = {
    {.name = "imapd-worker", .who = WHO_IMAP, .listeners = 1u << ROLE_IMAP},
};
static const struct monitor_role pop3_roles[] = {
    {.name = "pop3d-worker", .who = WHO_POP3, .listeners = 1u << ROLE_POP3},
};
static const struct monitor_role web_roles[] = {
    {.name = "web-worker", .who = WHO_WEB, .listeners = 1u << ROLE_WEB},
};

static const struct monitor_spec monitors[] = {
    {"smtpd", smtp_roles, ARRAY_LEN(smtp_roles), {"queue", "store"}},
    {"imapd", imap_roles, ARRAY_LEN(imap_roles), {"store"}},
    {"pop3d", pop3_roles, ARRAY_LEN(pop3_roles), {"store"}},
    {"web-server", web_roles, ARRAY_LEN(web_roles), {NULL}},
};

int main(int argc, char **argv)
{
	const char *name = argc > 0 ? argv[0] : "";
	const char *slash = strrchr(name, '/');

	name = slash ? slash + 1 : name;
	for (size_t i = 0; i < ARRAY_LEN(monitors); i++)
		if (strcmp(monitors[i].name, name) == 0)
			return monitor_main(argc, argv, &monitors[i]);
	fprintf(stderr, "%s: expected to be called smtpd, imapd, pop3d or web-server\n", name);
	return 2;
}
