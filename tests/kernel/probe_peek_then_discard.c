/* SPDX-License-Identifier: MIT */
/*
 * Claim: on TCP, recv(MSG_PEEK) leaves the bytes in the socket, and recv(NULL, m, MSG_TRUNC) then
 * discards exactly m of them.
 * Since: 2.4 (tcp(7)).
 * Why: without a pipe, or at an urgent byte, a lane copies: it peeks, sends, and discards as many
 * bytes as the write side took. So no byte is held in user space, and a lane that copies needs no
 * buffer of its own.
 */
#include "probe.h"

enum { TOTAL = 10000, ROOM = 4096 };

int main(void)
{
	static char sent[TOTAL], peeked[ROOM];
	int near, far;
	size_t offset = 0;

	for (int i = 0; i < TOTAL; i++)
		sent[i] = (char)(i % 251);
	probe_pair(&near, &far);
	probe_send(far, sent, sizeof(sent));
	probe_await_bytes(near, TOTAL);

	/* Odd amounts, so that they cross the edges of segments and pages. */
	for (size_t part = 1; offset < TOTAL; part = part * 3 % ROOM) {
		size_t discard = part < TOTAL - offset ? part : TOTAL - offset;
		ssize_t seen = recv(near, peeked, sizeof(peeked), MSG_PEEK);
		int left = -1;

		PROBE_CHECK(seen >= (ssize_t)discard &&
				    memcmp(peeked, sent + offset, (size_t)seen) == 0,
			    "peek at byte %zu gave %zd bytes or other ones", offset, seen);
		ssize_t discarded = recv(near, NULL, discard, MSG_TRUNC);
		PROBE_CHECK(discarded == (ssize_t)discard, "discarding %zu bytes gave %zd", discard,
			    discarded);
		offset += discard;
		PROBE_NEED(ioctl(near, FIONREAD, &left) == 0);
		PROBE_CHECK(left == (int)(TOTAL - offset), "%d bytes left, not %zu", left,
			    TOTAL - offset);
	}
	PROBE_CHECK(recv(near, NULL, 1, MSG_TRUNC) < 0 && errno == EAGAIN,
		    "discarding from an empty socket succeeded");
	PROBE_NEED(shutdown(far, SHUT_WR) == 0);
	PROBE_NEED(probe_poll(near, POLLIN | POLLRDHUP, PROBE_DEADLINE_MS) & POLLRDHUP);
	PROBE_CHECK(recv(near, peeked, sizeof(peeked), MSG_PEEK) == 0, "peek does not see the FIN");
	probe_hold("%d bytes peeked and discarded in odd parts", TOTAL);
}
