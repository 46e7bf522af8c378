/* Ranges of ports: a listener for each port, with the same options, and backends that go along. */
#pragma once

#include "config/config.h"

/*
 * Checks that the forward's backends have a port each for those of the listener, and that the limit on
 * listeners is not passed with this one. Returns 0, or -EINVAL with `fault`.
 */
int config_range_check(const struct config *config, const struct config_forward *forward,
		       struct fault *fault);

/*
 * Puts a forward for each port in the place of every forward with a range; a backend with a range
 * gives each its port, any other is the same for all. After all checks: a mistake is to be told once,
 * not for each port.
 */
void config_range_expand(struct config *config);
