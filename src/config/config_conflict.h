/* SPDX-License-Identifier: MIT */
/*
 * Listeners in conflict: bind(2) would refuse the second (tests/kernel/probe_listeners_overlap).
 * And backends that are the listener itself: every connection would come back. For a range of
 * ports, a conflict is reported once.
 */
#pragma once

#include "config/config.h"

/* Each function returns 0, or -EINVAL with a `fault` that names both sides of the conflict. */

/* The forward's listener, and the listener of a forward before it. */
int config_conflict_of_listeners(const struct config *config, const struct config_forward *forward,
				 struct fault *fault);

/* --metrics or --admin, and the forward's listener. */
int config_conflict_of_monitoring(const struct config *config, const struct config_forward *forward,
				  struct fault *fault);

/* The forward's listener, and a backend whose address leads to this listener. */
int config_conflict_of_backends(const struct config_forward *forward, struct fault *fault);
