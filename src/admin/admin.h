/*
 * The admin socket of --admin: `sixpipe who`, ban, unban and bans ask here, one line each
 * (admin_request.h), and get one answer (admin_job.h). Run by the control loop, with no thread of its
 * own; nothing that a client does or leaves undone makes it wait.
 *
 * It also owns the bans, and what the workers are asked through. Without --admin none of this
 * exists: no memory, no history, nobody is banned.
 */
#pragma once

#include "admin/admin_socket.h"
#include "config/capacity.h"
#include "os/poll_set.h"
#include "relay/worker.h"

/*
 * Clients at a time. When the last slot is taken, one whose request has not come is refused to make
 * room, or else one that does not take its answer: of all these the oldest, and root's only where
 * there is no other.
 */
#define ADMIN_CONNECTIONS CAPACITY_ADMIN_CONNECTIONS

/* For a request to come, and for an answer to be taken. */
#define ADMIN_TIMEOUT_MS 5000

struct admin;

/* What it is about; all of it must outlive it. */
struct admin_setup {
	const struct forwards *forwards;
	struct workers *workers;
	struct admin_owner owner; /* of the socket */
};

/*
 * Makes the socket at config->admin, and lets the workers, which must not have been started, keep a
 * history and look at the bans. Returns 0, or -errno with `fault` naming what could not be had, why,
 * and what to do.
 */
int admin_create(struct admin **admin, const struct admin_setup *setup, struct fault *fault);

/* No worker may be running. NULL is allowed. */
void admin_destroy(struct admin *admin);

/*
 * Adds the descriptors to wait for, and when admin_run() is due without an event. It is due as well
 * when a worker has answered: workers_end_fd().
 */
void admin_prepare_poll(struct admin *admin, struct poll_set *set);

/* Does what can be done without waiting; harmless when nothing has happened. */
void admin_run(struct admin *admin);
