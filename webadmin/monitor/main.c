/* web-server: the monitor of the web admin. */
#include "common/daemon/monitor.h"

#include "common/base/mem.h"
#include "common/config/config.h"

int main(int argc, char **argv)
{
	static const struct monitor_role roles[] = {
	    {.name = "web-worker", .who = WHO_WEB, .listeners = 1u << ROLE_WEB},
	};
	static const struct monitor_spec spec = {"web-server", roles, ARRAY_LEN(roles), {NULL}};

	return monitor_main(argc, argv, &spec);
}
