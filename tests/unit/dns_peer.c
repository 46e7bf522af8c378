/* SPDX-License-Identifier: MIT */
#include "dns_peer.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support.h"

#define HEAD_BYTES     12
#define QUESTION_START 0xc00c /* a pointer to the name behind the head (RFC 1035, 4.1.4) */

/* The port of a TCP socket may be taken for UDP: another one is tried then. */
void dns_peer_open(struct dns_peer *peer)
{
	struct addr address;

	memset(peer, 0, sizeof(*peer));
	for (unsigned tries = 0; tries < 16; tries++) {
		peer->tcp_fd = support_listen(&address, 8);
		peer->udp_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		cr_assert_geq(peer->udp_fd, 0);
		if (!bind(peer->udp_fd, &address.any, address.length_bytes))
			break;
		dns_peer_close(peer);
		peer->udp_fd = -1;
	}
	cr_assert_geq(peer->udp_fd, 0, "no port is free for both protocols");
	peer->port = addr_port(&address);
	snprintf(peer->server, sizeof(peer->server), "127.0.0.1:%u", peer->port);
}

void dns_peer_close(struct dns_peer *peer)
{
	close(peer->udp_fd);
	close(peer->tcp_fd);
}

bool dns_peer_take(struct dns_peer *peer)
{
	socklen_t length = sizeof(peer->asker);
	ssize_t got = recvfrom(peer->udp_fd, peer->query.bytes, sizeof(peer->query.bytes),
			       MSG_DONTWAIT, (struct sockaddr *)&peer->asker, &length);

	if (got < 0) {
		cr_assert_eq(errno, EAGAIN, "recvfrom: %s", strerror(errno));
		return false;
	}
	cr_assert_gt(got, HEAD_BYTES + 4);
	peer->query.length = (size_t)got;
	peer->query_count++;
	return true;
}

/* Where the question's type is: behind the name. */
static size_t type_offset(const struct dns_message *query)
{
	size_t at = HEAD_BYTES;

	while (query->bytes[at])
		at += query->bytes[at] + 1U;
	cr_assert_leq(at + 5, query->length);
	return at + 1;
}

enum dns_type dns_peer_asked_type(const struct dns_peer *peer)
{
	size_t at = type_offset(&peer->query);

	return (enum dns_type)(peer->query.bytes[at] << 8 | peer->query.bytes[at + 1]);
}

void dns_peer_asked_name(const struct dns_peer *peer, char name[256])
{
	const uint8_t *at = peer->query.bytes + HEAD_BYTES;
	size_t length = 0;

	for (; *at; at += *at + 1U)
		length += (size_t)snprintf(name + length, 256 - length, "%s%.*s", length ? "." : "",
					   *at, (const char *)at + 1);
}

static void put(struct dns_message *message, uint32_t value, size_t bytes)
{
	cr_assert_leq(message->length + bytes, sizeof(message->bytes));
	while (bytes--)
		message->bytes[message->length++] = (uint8_t)(value >> 8 * bytes);
}

void dns_begin(struct dns_message *answer, const struct dns_peer *peer, enum dns_code code)
{
	memset(answer, 0, sizeof(*answer));
	answer->length = type_offset(&peer->query) + 4;
	memcpy(answer->bytes, peer->query.bytes, answer->length);
	answer->bytes[2] = 0x81; /* an answer; recursion was desired */
	answer->bytes[3] = (uint8_t)(0x80 | code);
	memset(answer->bytes + 6, 0, 6);
}

/* Where the owner of the next record is written: at the end of the last CNAME, or the question. */
static uint32_t owner(const struct dns_message *answer)
{
	const uint8_t *end = answer->bytes + answer->length;

	if (answer->length > 4 && end[-4] == 1 && end[-3] == 'c')
		return 0xc000U | (uint32_t)(answer->length - 4);
	return QUESTION_START;
}

static void put_record(struct dns_message *answer, uint32_t owner_pointer, enum dns_type type,
		       uint32_t ttl_s, size_t bytes)
{
	unsigned count = (answer->bytes[6] << 8 | answer->bytes[7]) + 1U;

	answer->bytes[6] = (uint8_t)(count >> 8);
	answer->bytes[7] = (uint8_t)count;
	put(answer, owner_pointer, 2);
	put(answer, type, 2);
	put(answer, 1, 2);
	put(answer, ttl_s, 4);
	put(answer, (uint32_t)bytes, 2);
}

void dns_put_a(struct dns_message *answer, uint32_t ttl_s, uint32_t v4)
{
	put_record(answer, owner(answer), DNS_A, ttl_s, 4);
	put(answer, v4, 4);
}

void dns_put_aaaa(struct dns_message *answer, uint32_t ttl_s, const char *v6)
{
	struct in6_addr address;

	cr_assert_eq(inet_pton(AF_INET6, v6, &address), 1);
	put_record(answer, owner(answer), DNS_AAAA, ttl_s, sizeof(address));
	for (size_t i = 0; i < sizeof(address); i++)
		put(answer, address.s6_addr[i], 1);
}

/* The name is "c" and that of the question: 4 bytes at the end, which owner() finds. */
void dns_put_cname(struct dns_message *answer, uint32_t ttl_s)
{
	put_record(answer, owner(answer), DNS_CNAME, ttl_s, 4);
	put(answer, 1, 1);
	put(answer, 'c', 1);
	put(answer, QUESTION_START, 2);
}

void dns_send(const struct dns_peer *peer, const struct dns_message *answer)
{
	cr_assert_eq(sendto(peer->udp_fd, answer->bytes, answer->length, 0,
			    (const struct sockaddr *)&peer->asker, sizeof(peer->asker)),
		     (ssize_t)answer->length);
}
