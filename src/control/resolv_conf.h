/* The DNS servers of resolv.conf(5), with the interfaces of link-local ones, which c-ares would leave out. */
#pragma once

#include "config/dns.h"

/*
 * Reads the first DNS_SERVERS_MOST servers that can be used, and returns their number: 0 also where the file
 * cannot be read. Each one before them that cannot be used is logged (event=nameserver_ignored).
 */
unsigned resolv_conf_servers(const char *path, struct addr servers[DNS_SERVERS_MOST]);
