/* SPDX-License-Identifier: MIT */
/*
 * Claim: bind(2) to an address that no interface has fails with EADDRNOTAVAIL. With IPV6_FREEBIND,
 * or IP_FREEBIND for IPv4, a process without privileges can bind the address and listen. The same
 * holds for an address in duplicate address detection.
 * Since: IP_FREEBIND 2.4, IPV6_FREEBIND 4.15.
 * Why: sixpipe binds such addresses at the start. If it waited instead, systemd's limit on restarts
 * would be reached.
 */
#include "probe.h"

#include <arpa/inet.h>

#ifndef IPV6_FREEBIND
#define IPV6_FREEBIND 78
#endif

static int bind_to(const struct sockaddr_storage *address, bool free_bind)
{
	bool v6 = address->ss_family == AF_INET6;
	int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, error = 0;

	if (fd < 0)
		probe_skip("no socket of family %d: %s", address->ss_family, strerror(errno));
	if (free_bind)
		PROBE_NEED(setsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP,
				      v6 ? IPV6_FREEBIND : IP_FREEBIND, &on, sizeof(on)) == 0);
	if (bind(fd, (const struct sockaddr *)address,
		 v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in)) != 0 ||
	    listen(fd, 1) != 0)
		error = errno;
	close(fd);
	return error;
}

int main(void)
{
	struct sockaddr_storage addresses[2] = {0};
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&addresses[0];
	struct sockaddr_in *v4 = (struct sockaddr_in *)&addresses[1];

	v6->sin6_family = AF_INET6;
	PROBE_NEED(inet_pton(AF_INET6, "2001:db8:dead::1", &v6->sin6_addr) == 1);
	v4->sin_family = AF_INET;
	PROBE_NEED(inet_pton(AF_INET, "192.0.2.222", &v4->sin_addr) == 1);
	if (geteuid() == 0)
		PROBE_NEED(setresuid(65533, 65533, 65533) == 0);
	for (unsigned i = 0; i < 2; i++) {
		int plain = bind_to(&addresses[i], false), early = bind_to(&addresses[i], true);

		if (plain == 0)
			probe_skip("ip_nonlocal_bind is set here");
		PROBE_CHECK(plain == EADDRNOTAVAIL, "without the option: %s", strerror(plain));
		PROBE_CHECK(early == 0, "with the option: %s", strerror(early));
	}
	probe_hold("an address of no interface is bound with the option alone");
}
