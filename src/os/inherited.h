/* SPDX-License-Identifier: MIT */
/*
 * What a process inherits from the process that it takes over from, before it reads its
 * configuration: descriptors that must not be opened twice, and sizes. The state follows later.
 *
 * The old process sends HELLO, a SOCKET record for each descriptor, and GREETED (os/carrier.h).
 * Until the new process has committed itself, both use the same sockets: the new process changes
 * nothing about them, not even an option.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "os/carrier.h"

/* The first value of HELLO. A process with another number cannot read the rest of HELLO. */
#define INHERITED_PROTOCOL 1

/*
 * The second value: the version of the state. PIPE, SERVICE, CHANGE and the records outside the state
 * never change. Raise it when a process of another version would misread the other records of the
 * state.
 */
#ifndef INHERITED_STATE_VERSION
#define INHERITED_STATE_VERSION 1
#endif

#define INHERITED_NAME_BYTES	256
#define INHERITED_FORWARD_LIMIT 256 /* of a process */

/* Never renumber. */
enum inherited_role {
	INHERITED_LISTENER, /* of a forward */
	INHERITED_METRICS,  /* the listener of --metrics */
	INHERITED_ADMIN,    /* the admin socket */
	INHERITED_LOCK,	    /* flock(2) of a lease pool's state file */
};

/* A descriptor, and how the old process was told to open it. */
struct inherited_socket {
	enum inherited_role role;
	int fd; /* -1: taken */
	bool used;
	ino_t inode;	/* two descriptors of one socket have the same: fstat(2) */
	unsigned owner; /* index of the forward in the old process */
	char forward[INHERITED_NAME_BYTES]; /* name of the forward; "": none */
	char given[INHERITED_NAME_BYTES];   /* address with its port 0, or path, as configured */
	char device[INHERITED_NAME_BYTES];  /* --bind-device; "": none */
	char socket_name[INHERITED_NAME_BYTES]; /* systemd:NAME; "": the process has bound it */
};

/* All zeros, and `carrier` NULL: an ordinary start. */
struct inherited {
	struct carrier *carrier; /* to the old process, the caller's; NULL: there is none */
	/* of one forward one after the other, each socket once */
	struct inherited_socket *sockets;
	unsigned count;
	bool listeners_only; /* the state's version is another: only the listeners come */
	uint64_t state_version;
	char old_version[INHERITED_NAME_BYTES]; /* of the program, as text */
	uint32_t old_maxconn;
	unsigned old_workers;
	uint64_t boot_id;		     /* of session ids */
	uint32_t old_sessions;		     /* about as many will come */
	char old_user[INHERITED_NAME_BYTES]; /* --user of the old process; "": none */
};

/*
 * Reads HELLO, the SOCKET records and GREETED. HELLO has: INHERITED_PROTOCOL,
 * INHERITED_STATE_VERSION, the program's version as text, maxconn, workers, boot_id, the number of
 * sessions, and --user as text. Returns 0, or -errno with nothing left open:
 * -EPROTONOSUPPORT if the protocol is another; -EBADMSG if a record is malformed or another kind
 * comes first; -ENOMEM; or of carrier_next().
 */
int inherited_read(struct inherited *inherited, struct carrier *carrier);

/*
 * Closes the descriptors that were not taken, and frees the memory. The carrier belongs to the
 * caller. All zeros are allowed.
 */
void inherited_finish(struct inherited *inherited);

/*
 * Closes the descriptors that were not taken. Call it when everything is bound: a listening socket
 * that stays open here would collect clients which no process accepts. NULL is allowed.
 */
void inherited_close_rest(struct inherited *inherited);

/*
 * The first descriptor with this role and address or path that was not taken; NULL: none. NULL is
 * allowed as `inherited`.
 */
struct inherited_socket *inherited_find(struct inherited *inherited, enum inherited_role role,
					const char *given);

/* Takes a descriptor over, which the caller owns from then on. */
int inherited_take(struct inherited_socket *socket);

/*
 * Takes the lock that the open lock file `fd` has in the old process: the same file, stat(2).
 * Returns its descriptor, or -1 if there is none. NULL is allowed as `inherited`.
 */
int inherited_take_lock(struct inherited *inherited, int fd);

/* The old process: writes a SOCKET record. The descriptor stays open here. */
void inherited_write(const struct inherited_socket *socket, struct carrier *carrier);

/*
 * The answer, a part of the record PREPARED: whether the new process listens on the sockets of each
 * forward of the old process, by the old process's index.
 */
void inherited_put_adopted(const struct inherited *inherited, struct carrier *carrier);
void inherited_take_adopted(struct carrier *carrier, bool adopted[INHERITED_FORWARD_LIMIT]);
