/*
 * Listeners that cannot be there together, and backends that are the listener itself: bind(2) would refuse the
 * second of two (tests/kernel/probe_listeners_overlap), or every connection would come back. For ranges of ports
 * each is told once.
 */
#pragma once

#include "config/config.h"

/* Each returns 0, or -EINVAL with `fault` naming both: */

/* ... the forward's listener and one of those before it. */
int config_conflict_of_listeners(const struct config *config, const struct config_forward *forward,
				 struct fault *fault);

/* ... --metrics or --admin, and the forward's listener. */
int config_conflict_of_monitoring(const struct config *config, const struct config_forward *forward,
				  struct fault *fault);

/* ... the forward's listener and a backend that it would forward to itself by. */
int config_conflict_of_backends(const struct config_forward *forward, struct fault *fault);
