/* The DNS servers of resolv.conf(5), with the interfaces of link-local ones, unlike c-ares. */
#pragma once

#include "config/dns.h"

/*
 * Reads the first DNS_SERVERS_MOST servers that can be used, and returns their number; 0 if the
 * file cannot be read. Logs servers that cannot be used (event=nameserver_ignored).
 */
unsigned resolv_conf_servers(const char *path, struct addr servers[DNS_SERVERS_MOST]);
