/* SPDX-License-Identifier: MIT */
/*
 * Texts of addresses: reads them, and explains why a text is not an address. The explanation knows
 * the usual mistakes, such as the forms of other programs, and says how to write the address.
 */
#pragma once

#include "config/config.h"

enum config_address_use {
	CONFIG_ADDRESS_LISTEN,	   /* clients connect to it */
	CONFIG_ADDRESS_BACKEND,	   /* sixpipe connects to it */
	CONFIG_ADDRESS_MONITORING, /* --metrics */
};

/*
 * Sets `fault` for a `text` that was refused as an address. Reason and remedy are those of a known
 * mistake, if `text` looks like one; otherwise those of `problem`, a static "REASON; REMEDY".
 * `kind` says where the text was given. Returns -EINVAL.
 */
int config_address_explain(enum config_address_use use, enum config_origin_kind kind,
			   const char *text, const char *problem, struct fault *fault);

/* Reads FIRST-LAST. False: `text` is anything else. */
bool config_address_read_range(const char *text, unsigned long *first, unsigned long *last);

/*
 * Reads an address that may end in a range of ports, ADDRESS:FIRST-LAST. Writes ADDRESS:FIRST into
 * `word`, and into `port_count` the number of ports, 1 without a range. Any other text is copied,
 * for the parser of addresses. Returns NULL, or a static "REASON; REMEDY".
 */
const char *config_address_split_range(const char *text, char *word, size_t word_bytes,
				       unsigned *port_count);

/*
 * Reads ADDRESS:PORT or NAME:PORT from the whole of `text`. Returns NULL, or a static "REASON;
 * REMEDY".
 */
const char *config_address_parse_backend(const char *text, struct config_backend *backend);
