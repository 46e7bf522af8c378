/* What the options about sockets and listeners have for values. Faults are those of config_field_set(). */
#pragma once

#include "config/config.h"

/* --tos: a code point's name, or the number of the whole byte. */
int config_socket_parse_tos(uint64_t *tos, const char *text, struct fault *fault);

/* --mark: 32 bits, decimal or 0x and hexadecimal. */
int config_socket_parse_mark(uint64_t *mark, const char *text, struct fault *fault);

/* --unix-mode: octal. */
int config_socket_parse_mode(uint64_t *mode, const char *text, struct fault *fault);

/* --source-port-range: FIRST-LAST. */
int config_socket_parse_ports(struct sock_ports *ports, const char *text, struct fault *fault);

/*
 * An address that may end in a range of ports, ADDRESS:FIRST-LAST: writes it into `word` without
 * the "-LAST", and how many ports it stands for, 1 where there is no range. Returns NULL, or the
 * reason and the remedy in words, a static string. What is not such a range is left to the parser
 * of addresses.
 */
const char *config_socket_split_range(const char *text, char *word, size_t word_bytes,
				      unsigned *port_count);
