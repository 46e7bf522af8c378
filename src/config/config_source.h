/* SPDX-License-Identifier: MIT */
/* Reads and checks the value of --source. */
#pragma once

#include "config/config.h"

/* The default lease pools of --source pseudo and --source loopback. */
#define CONFIG_PSEUDO_POOL   "240.0.0.0/4"
#define CONFIG_LOOPBACK_POOL "127.64.0.0/10"

/*
 * Reads none, ADDR, pseudo[:CIDR], loopback[:CIDR] or embedded[,one of these]. Returns 0, or
 * -EINVAL with `fault`, in which the caller names the option.
 */
int config_source_parse(struct config_source *source, const char *text, struct fault *fault);

/*
 * Checks a forward's --source: its pool and the pool of any forward before it are the same or do
 * not overlap, and its addresses have the family of the backends. Returns 0, or -EINVAL with
 * `fault`.
 */
int config_source_check(const struct config *config, const struct config_forward *forward,
			struct fault *fault);
