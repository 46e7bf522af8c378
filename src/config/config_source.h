/* The value of --source, read and checked. */
#pragma once

#include "config/config.h"

/* The blocks that pseudo and loopback take their addresses from by default. */
#define CONFIG_PSEUDO_POOL   "240.0.0.0/4"
#define CONFIG_LOOPBACK_POOL "127.64.0.0/10"

/*
 * Reads none, ADDR, pseudo[:CIDR], loopback[:CIDR] or embedded[,one of these]. Returns 0, or -EINVAL
 * with `fault`, in which the caller names the option.
 */
int config_source_parse(struct config_source *source, const char *text, struct fault *fault);

/*
 * Checks what a forward's source has to do with those of the forwards before it and with its backends:
 * that two pools are the same or apart, and of one family with the backends. Returns 0 or -EINVAL
 * with `fault`.
 */
int config_source_check(const struct config *config, const struct config_forward *forward,
			struct fault *fault);
