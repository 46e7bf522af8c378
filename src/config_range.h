/* Ranges of ports: a listener for each port, with the same options, and backends that go along. */
#pragma once

#include "config.h"

/*
 * Puts a forward for each port in the place of every forward with a range; a backend with a range
 * gives each its port, any other is the same for all. The first one keeps the values as given.
 * Returns 0, or -EINVAL with `error`, and nothing is changed.
 */
int config_expand_ranges(struct config *config, char error[CONFIG_ERROR_BYTES]);
