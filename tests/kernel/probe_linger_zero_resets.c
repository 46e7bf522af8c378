/* SPDX-License-Identifier: MIT */
/*
 * Claim: close with SO_LINGER {1, 0} gives the peer ECONNRESET and drops the unsent bytes. SIOCOUTQ
 * is 0 once the peer's kernel has acknowledged every byte, even if the peer's program has not read
 * them.
 * Since: always.
 * Why: this is how a reset is passed on. While bytes are under way it would lose them, so a reset
 * that must follow data waits until SIOCOUTQ is 0.
 */
#include "probe.h"

#include <linux/sockios.h>

static char bytes[65536];

/* Reads to the end. Returns the number of bytes; sets `error` to the error, 0 for a FIN. */
static size_t read_to_end(int fd, int *error)
{
	size_t total = 0;
	ssize_t got;

	do {
		PROBE_NEED(probe_poll(fd, POLLIN, PROBE_DEADLINE_MS));
		got = recv(fd, bytes, sizeof(bytes), 0);
		total += got > 0 ? (size_t)got : 0;
	} while (got > 0);
	*error = got < 0 ? errno : 0;
	return total;
}

int main(void)
{
	int near, far, error, unacknowledged = 1;
	size_t sent = 0, received;
	ssize_t moved;

	/* Acknowledged but not read by its program: kept. */
	probe_pair(&near, &far);
	probe_send(near, "hello", 5);
	int64_t deadline_ms = probe_now_ms() + PROBE_DEADLINE_MS;
	while (unacknowledged > 0) {
		PROBE_NEED(ioctl(near, SIOCOUTQ, &unacknowledged) == 0);
		PROBE_CHECK(probe_now_ms() < deadline_ms, "SIOCOUTQ stays at %d bytes",
			    unacknowledged);
		if (unacknowledged > 0)
			poll(NULL, 0, 1);
	}
	probe_reset(near);
	received = read_to_end(far, &error);
	PROBE_CHECK(received == 5 && error == ECONNRESET, "with SIOCOUTQ at 0: %zu bytes, then %s",
		    received, strerror(error));
	close(far);

	/* Still in the send queue: gone. */
	probe_pair(&near, &far);
	while ((moved = send(near, bytes, sizeof(bytes), MSG_NOSIGNAL)) > 0)
		sent += (size_t)moved;
	PROBE_NEED(ioctl(near, SIOCOUTQ, &unacknowledged) == 0);
	PROBE_NEED(unacknowledged > 0);
	probe_reset(near);
	received = read_to_end(far, &error);
	PROBE_CHECK(received < sent && error == ECONNRESET,
		    "a full queue: %zu of %zu bytes, then %s", received, sent, strerror(error));
	probe_hold("acknowledged bytes survive a reset, queued ones do not (%zu of %zu came)",
		   received, sent);
}
