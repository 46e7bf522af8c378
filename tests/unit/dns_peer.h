/* SPDX-License-Identifier: MIT */
/*
 * The server's end of DNS for a test: a UDP and a TCP socket on one port of 127.0.0.1, answers made
 * record by record. It runs in the test's own thread, so a test decides when what is answered.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dns_code { DNS_OK, DNS_FORMERR, DNS_SERVFAIL, DNS_NXDOMAIN, DNS_NOTIMP, DNS_REFUSED };
enum dns_type { DNS_A = 1, DNS_CNAME = 5, DNS_AAAA = 28 };

#define DNS_MESSAGE_BYTES 4096

struct dns_message {
	uint8_t bytes[DNS_MESSAGE_BYTES];
	size_t length;
};

struct dns_peer {
	int udp_fd;
	int tcp_fd;
	unsigned port;
	char server[32];	  /* "127.0.0.1:PORT" */
	unsigned query_count;	  /* by UDP */
	struct dns_message query; /* the last one */
	struct sockaddr_in asker; /* whose it was */
};

void dns_peer_open(struct dns_peer *peer);
void dns_peer_close(struct dns_peer *peer);

/* Takes a query from the UDP socket if there is one. */
bool dns_peer_take(struct dns_peer *peer);

enum dns_type dns_peer_asked_type(const struct dns_peer *peer);

/* The name of the last query, without a dot at its end. */
void dns_peer_asked_name(const struct dns_peer *peer, char name[256]);

/* Begins an answer to the last query: its id and its question. */
void dns_begin(struct dns_message *answer, const struct dns_peer *peer, enum dns_code code);

/* Adds a record for the name that was asked for, or for that of the last CNAME. */
void dns_put_a(struct dns_message *answer, uint32_t ttl_s, uint32_t v4);
void dns_put_aaaa(struct dns_message *answer, uint32_t ttl_s, const char *v6);
void dns_put_cname(struct dns_message *answer, uint32_t ttl_s);

/* Sends to the asker by UDP. */
void dns_send(const struct dns_peer *peer, const struct dns_message *answer);
