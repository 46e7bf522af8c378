/*
 * Listeners that cannot be there together, and backends that are the listener itself: bind(2) would refuse the
 * second of two (tests/kernel/probe_listeners_overlap), or every connection would come back. For ranges of ports
 * each is told once.
 */
#pragma once

#include "config/config.h"

/* Each returns 0, or -EINVAL with `error` naming both: */

/* ... the forward's listener and one of those before it. */
int config_conflict_of_listeners(const struct config *config, const struct config_forward *forward,
				 char error[CONFIG_ERROR_BYTES]);

/* ... --metrics or --admin, and the forward's listener. */
int config_conflict_of_monitoring(const struct config *config, const struct config_forward *forward,
				  char error[CONFIG_ERROR_BYTES]);

/* ... the forward's listener and a backend that it would forward to itself by. */
int config_conflict_of_backends(const struct config_forward *forward,
				char error[CONFIG_ERROR_BYTES]);

/*
 * Whether what this host sends to an address comes to a forward's listener, which is bound to `listen`, as far as
 * the addresses tell.
 */
enum config_reach {
	CONFIG_REACH_NONE,
	CONFIG_REACH_IF_OWN, /* where the address is one of this host's: config_loop.h */
	CONFIG_REACH_SURE,
};

enum config_reach config_conflict_reach(const struct config_forward *forward,
					const struct addr *listen, const struct addr *to);
