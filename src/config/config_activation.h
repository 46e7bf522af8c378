/* SPDX-License-Identifier: MIT */
/*
 * Listeners that the service manager opens: LISTEN is systemd:NAME, and the forward listens on the
 * sockets that were passed under this name (os/activation.h).
 */
#pragma once

#include "config/config.h"

/* Whether the text is systemd:NAME, with a right or a wrong name. */
bool config_activation_is_text(const char *text);

/*
 * Reads NAME from systemd:NAME. Returns NULL and sets *name, which points into `text`; or returns a
 * static "REASON; REMEDY".
 */
const char *config_activation_parse(const char *text, const char **name);

/*
 * Gives the passed sockets of config->passed, and those of config->inherited that were passed to
 * the process before this one, to the forwards that name them. Sockets with the same name and
 * another address get a forward of their own, a copy. From here on such a forward has the address,
 * interface and families of its sockets. A forward whose name was not passed keeps "no address".
 * Adds a fault for each socket that cannot be used; for each passed socket that no forward names;
 * and, if any socket was passed or inherited, for each forward whose name was not passed.
 */
void config_activation_apply(struct config *config);

/*
 * Adds a fault to `errors` for each forward whose name was not passed. For a start: the checks
 * before a start (ExecStartPre=) get no sockets. Returns 0 or -EINVAL.
 */
int config_activation_require(const struct config *config, struct config_errors *errors);
