/* SPDX-License-Identifier: MIT */
/*
 * What a process inherits from the process that it takes over from, before it reads its
 * configuration: descriptors that must not be opened twice, and sizes. The state follows later.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "os/carrier.h"

enum inherited_role {
	INHERITED_LISTENER, /* of a forward */
	INHERITED_METRICS,  /* the listener of --metrics */
	INHERITED_ADMIN,    /* the admin socket */
	INHERITED_LOCK,	    /* flock(2) of a lease pool's state file */
};

#define INHERITED_NAME_BYTES 256

struct inherited_socket {
	enum inherited_role role;
	int fd;	   /* -1: taken */
	bool used; /* by this configuration */
	/* how it was configured; equal texts mean the same socket */
	char forward[INHERITED_NAME_BYTES]; /* name of the forward; "": none */
	char given[INHERITED_NAME_BYTES];   /* address as configured, with its port 0; or a path */
	char device[INHERITED_NAME_BYTES];  /* --bind-device; "": none */
	char socket_name[INHERITED_NAME_BYTES]; /* systemd:NAME; "": the process has bound it */
	struct addr bound;			/* getsockname(2) */
	struct sockaddr_un bound_name;		/* of a local socket: `bound` points to it */
};

/* All zeros, and `carrier` NULL: an ordinary start. */
struct inherited {
	struct carrier *carrier; /* to the old process; NULL: there is none */
	struct inherited_socket *sockets;
	unsigned count;
	bool listeners_only; /* the state's version is another: only the listeners come */
	uint32_t old_maxconn;
	unsigned old_workers;
	uint64_t boot_id;	/* of session ids */
	uint64_t opened_counts; /* session ids of this process are above it */
};
