/* Whether this host lets connections come from what --source names. */
#pragma once

#include "config/config.h"

/*
 * Whether connections to a forward's backends can be made from what its --source names: its addresses are this
 * host's, by an interface or a local route, and no backend is out of their reach. Returns 0, or -errno with
 * `fault`. Before the configuration's threads start.
 */
int source_check(const struct config_forward *forward, struct fault *fault);

/* "240.0.0.0/4", "192.0.2.7", "embedded,240.0.0.0/4": returns `text`. */
#define SOURCE_CHECK_TEXT_BYTES (ADDR_TEXT_BYTES + 16)
const char *source_check_print(const struct config_source *source,
			       char text[SOURCE_CHECK_TEXT_BYTES]);
