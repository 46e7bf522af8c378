/* SPDX-License-Identifier: MIT */
/* Whether this host and the privileges of the process allow the values of the socket options. */
#pragma once

#include "config/config.h"

/*
 * Tries the options that need no bind(2). Buffers and ports need no privilege. Mark and device are
 * for listeners, which are made before the privilege drop. Returns 0, or -EINVAL with all faults
 * added to `errors`. `root` is put before /proc/sys; "" is this host.
 */
int tuning_check(const struct config *config, const char *root, struct config_errors *errors);
