/* SPDX-License-Identifier: MIT */
/*
 * Socket activation: the listening sockets that a service manager opens and passes to this process
 * by LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES. The protocol is that of sd_listen_fds(3).
 */
#pragma once

#include <net/if.h>
#include <stdbool.h>
#include <sys/un.h>

#include "base/addr.h"
#include "base/fault.h"

/* A passed descriptor; it is close-on-exec and non-blocking. */
struct activation_socket {
	int fd;
	const char *name; /* "unknown" if the manager gives no names, as sd_listen_fds(3) says */
	bool taken;	  /* a forward listens on it */
};

/* All descriptors that were passed. All zeros: none. */
struct activation {
	struct activation_socket *sockets;
	unsigned count;
	char *names;	    /* the memory of the names */
	long other_process; /* LISTEN_PID, if it is another process; otherwise 0 */
};

/*
 * Takes the passed descriptors, and removes the variables from the environment. Call it once, at
 * the start. Variables for another process are ignored. Returns 0; or -errno with `fault`, if a
 * variable is malformed or a descriptor is not open.
 */
int activation_take(struct activation *activation, struct fault *fault);

/* Frees the memory. Closes no descriptor: each belongs to the listener that uses it. */
void activation_finish(struct activation *activation);

/* What the kernel says of a listening socket. */
struct activation_facts {
	struct addr address; /* getsockname(2); a local address refers to `local_name` */
	struct sockaddr_un local_name;
	bool dual_stack;	  /* [::] accepts IPv4 clients too: IPV6_V6ONLY, ipv6(7) */
	char device[IF_NAMESIZE]; /* SO_BINDTODEVICE, socket(7); "": none */
};

/*
 * Finds out whether a forward can listen on the descriptor: a stream socket of TCP or a local
 * socket, which listens. Returns NULL and sets `facts`, or returns a static "REASON; REMEDY" and
 * sets at most the address, if it is a socket.
 */
const char *activation_inspect(int fd, struct activation_facts *facts);
