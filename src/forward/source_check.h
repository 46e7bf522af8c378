/* Checks that this host can use the addresses of --source. */
#pragma once

#include "config/config.h"

/*
 * Checks that a forward can connect to its backends from the addresses of its --source: an
 * interface has them, or a local route leads to them, and they reach every backend. Returns 0, or
 * -errno and `fault`. Before the workers start.
 */
int source_check(const struct config_forward *forward, struct fault *fault);

/* "240.0.0.0/4", "192.0.2.7", "embedded,240.0.0.0/4": returns `text`. */
#define SOURCE_CHECK_TEXT_BYTES (ADDR_TEXT_BYTES + 16)
const char *source_check_print(const struct config_source *source,
			       char text[SOURCE_CHECK_TEXT_BYTES]);
