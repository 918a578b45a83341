/* pop3d: the monitor of the POP3 server. */
#include "common/daemon/monitor.h"

#include "common/base/mem.h"
#include "common/config/config.h"

int main(int argc, char **argv)
{
	static const struct monitor_role roles[] = {
	    {.name = "pop3d-worker", .who = WHO_POP3, .listeners = 1u << ROLE_POP3},
	};
	static const struct monitor_spec spec = {"pop3d", roles, ARRAY_LEN(roles), {"store"}};

	return monitor_main(argc, argv, &spec);
}
