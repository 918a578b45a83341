/* smtpd: the monitor of mail in and out. */
#include "common/daemon/monitor.h"

#include "common/base/mem.h"
#include "common/config/config.h"

int main(int argc, char **argv)
{
	static const struct monitor_role roles[] = {
	    {.name = "smtpd-local", .who = WHO_LOCAL},
	    {.name = "smtpd-send", .who = WHO_OUT, .signs = true},
	    {.name = "smtpd-receive",
		.who = WHO_IN,
		.listeners =
		    1u << ROLE_SMTP | 1u << ROLE_SUBMISSION | 1u << ROLE_LMTP | 1u << ROLE_DEVICE},
	};
	static const struct monitor_spec spec = {
	    "smtpd", roles, ARRAY_LEN(roles), {"queue", "store"}};

	return monitor_main(argc, argv, &spec);
}
