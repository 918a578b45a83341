/* imapd: the monitor of the IMAP server. */
#include "common/daemon/monitor.h"

#include "common/base/mem.h"
#include "common/config/config.h"

int main(int argc, char **argv)
{
	static const struct monitor_role roles[] = {
	    {.name = "imapd-worker", .who = WHO_IMAP, .listeners = 1u << ROLE_IMAP},
	};
	static const struct monitor_spec spec = {"imapd", roles, ARRAY_LEN(roles), {"store"}};

	return monitor_main(argc, argv, &spec);
}
