/* The addresses of this host's interfaces. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>

/*
 * Whether an IPv4 address is one of 127.0.0.0/8 or an interface has it: getifaddrs(3). One that a local
 * route alone makes this host's is not. Where the kernel may not be asked, only loopback is known.
 */
bool interfaces_have(struct in_addr address);
