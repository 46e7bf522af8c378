/* SPDX-License-Identifier: MIT */
/*
 * Drops user and privileges in stages. The main thread runs them in this order (service.h):
 *
 *	1 make and size pipes	sizes beyond the user's budget need CAP_SYS_RESOURCE; later the
 *				new user's budget counts
 *	2 make the rings	kernel.io_uring_disabled = 1 wants CAP_SYS_ADMIN, or a group that
 *				stage 4 leaves
 *	3 bind the listeners	also the listener of --metrics. Ports below 1024 need CAP_NET_BIND_SERVICE;
 *				all that can fail for other reasons comes first
 *	4 become --user		groups, then gid, then uid: with a new uid the groups could not
 *				be changed
 *	5 clear capabilities	effective, permitted, inheritable, ambient and bounding; the
 *				bounding set goes before stage 4, while CAP_SETPCAP is there
 *	6 no_new_privs		no execve(2) can bring a privilege back
 *	7 start the workers	privileges are per thread; a new thread inherits them
 */
#pragma once

#include <stdbool.h>

#include "forward/forward.h"

struct privs_target {
	bool change; /* false: the user stays */
	struct forward_owner user;
	bool own_groups; /* the user's supplementary groups too; false: `gid` alone */
	char name[256];	 /* for initgroups(3) */
};

/* Whether the process has an effective capability now, such as CAP_NET_BIND_SERVICE. */
bool privs_has_capability(unsigned capability);

/*
 * Looks up --user NAME[:GROUP], names or numbers (getpwnam(3), getgrnam(3)); NULL means no change.
 * Returns 0, or -errno with `fault`.
 */
int privs_resolve(const char *user, struct privs_target *target, struct fault *fault);

/*
 * Stages 4 to 6. Reads the outcome back. Returns 0 if it is right; otherwise -errno with `fault`,
 * and the process must end.
 */
int privs_drop(const struct privs_target *target, struct fault *fault);
