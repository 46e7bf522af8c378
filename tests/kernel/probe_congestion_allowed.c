/* SPDX-License-Identifier: MIT */
/*
 * Claim: a process with CAP_NET_ADMIN can set TCP_CONGESTION to a loaded name that is not in
 * net.ipv4.tcp_allowed_congestion_control; without the capability the answer is EPERM. Every
 * process can set a name in the list. An accepted socket has the congestion control of its
 * listener.
 * Since: 2.6.18 (tcp_set_congestion_control). The list can be read in a network namespace since
 * 5.13.
 * Why: sockets towards backends are made after the privilege drop. A test by root says nothing
 * about them, and after a refusal their congestion control would differ from that of the accepted
 * sockets.
 */
#include "probe.h"

#include <grp.h>

enum { ANY_USER = 65533, NAME_BYTES = 17 };

#define SYSCTLS "/proc/sys/net/ipv4/"

static void names_read(const char *path, char text[512])
{
	FILE *file = fopen(path, "re");

	if (file == NULL || fgets(text, 511, file) == NULL)
		probe_skip("%s cannot be read", path);
	fclose(file);
	text[strcspn(text, "\n")] = '\0';
}

static bool names_have(const char *names, const char *name)
{
	size_t length = strlen(name);

	for (const char *at = names; (at = strstr(at, name)) != NULL; at += length)
		if ((at == names || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
			return true;
	return false;
}

/* Sets the congestion control of a new socket. Returns 0 or the errno. */
static int congestion_try(const char *name)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int error = 0;

	PROBE_NEED(fd >= 0);
	if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)) != 0)
		error = errno;
	close(fd);
	return error;
}

static void check_inherited(const char *name)
{
	struct sockaddr_in address;
	int listener = probe_listen(&address, 1);
	char seen[NAME_BYTES] = "";
	socklen_t length = NAME_BYTES - 1;
	int client, accepted;

	PROBE_NEED(setsockopt(listener, IPPROTO_TCP, TCP_CONGESTION, name,
			      (socklen_t)strlen(name)) == 0);
	client = probe_connect(&address);
	accepted = probe_accept(listener);
	PROBE_NEED(getsockopt(accepted, IPPROTO_TCP, TCP_CONGESTION, seen, &length) == 0);
	PROBE_CHECK(strcmp(seen, name) == 0, "the listener has %s, the accepted socket %s", name,
		    seen);
	close(accepted);
	close(client);
	close(listener);
}

int main(void)
{
	char allowed[512], available[512], usual[512], *save = NULL;
	const char *name;

	names_read(SYSCTLS "tcp_allowed_congestion_control", allowed);
	names_read(SYSCTLS "tcp_available_congestion_control", available);
	names_read(SYSCTLS "tcp_congestion_control", usual);
	for (name = strtok_r(available, " ", &save); name != NULL && names_have(allowed, name);)
		name = strtok_r(NULL, " ", &save);
	if (name == NULL)
		probe_skip("all that is loaded is allowed to everybody: %s", allowed);
	if (geteuid() != 0 || congestion_try(name) == EPERM)
		probe_skip("CAP_NET_ADMIN is not there to begin with");
	PROBE_CHECK(congestion_try(name) == 0, "%s, with CAP_NET_ADMIN: %s", name,
		    strerror(congestion_try(name)));
	check_inherited(name);

	PROBE_NEED(setgroups(0, NULL) == 0 && setresuid(ANY_USER, ANY_USER, ANY_USER) == 0);
	PROBE_CHECK(congestion_try(name) == EPERM, "%s, without CAP_NET_ADMIN: %s", name,
		    strerror(congestion_try(name)));
	for (char *one = strtok_r(allowed, " ", &save); one; one = strtok_r(NULL, " ", &save)) {
		PROBE_CHECK(congestion_try(one) == 0, "%s, which is allowed: %s", one,
			    strerror(congestion_try(one)));
		check_inherited(one);
	}
	probe_hold("%s is for CAP_NET_ADMIN alone; the system's is %s", name, usual);
}
