/* SPDX-License-Identifier: MIT */
/* The IPv4 end of the load: answers requests, takes and sends bulk data, and counts both. */
#pragma once

#include "net.h"

struct backend_options {
	struct endpoint listen;
	unsigned thread_count; /* for bulk flows, and as many again for the others */
	bool background_bulk;  /* bulk threads leave the CPU to everything else */
};

/*
 * Prints "listening ADDRESS", serves until end of file on standard input, then prints one JSON
 * object of totals. Returns the exit status: 1 after any error.
 */
int backend_run(struct backend_options *options);
