/* SPDX-License-Identifier: MIT */
/*
 * Backends by name: the addresses that resolver.h finds become members of the pools. Control
 * thread; workers never wait for a name.
 *
 * Each address of a name is a member with the backend's parameters. An address that stays keeps its
 * health. Sessions with an address that goes continue. A name that fails keeps its addresses.
 * Several backends with one name, even with other ports, are one question.
 */
#pragma once

#include "config/config.h"
#include "control/resolver.h"
#include "forward/forward.h"
#include "os/carrier.h"

struct names;

/*
 * Reads resolv.conf(5) where no --dns-server is given, and asks no server yet; *names is NULL where
 * no backend has a name. `forwards` must outlive it. Returns 0, or -errno with `fault`.
 */
int names_create(struct names **names, struct forwards *forwards, struct fault *fault);

/* Drops the open questions. The members stay. NULL is allowed. */
void names_destroy(struct names *names);

/*
 * For the start: asks, and blocks until every name has an answer (--resolve-at-start try) or an
 * address (require), until --resolve-timeout, or until TERM or INT, which must be blocked, is
 * pending. Returns 0, or -ENOENT if names are required and some have no address; `errors` gets one
 * error for each.
 */
int names_wait(struct names *names, struct config_errors *errors);

/* Takeover ------------------------------------------------------------------------------------- */

/*
 * Writes a CARRIER_NAME for each name that has an address: its last good answer. NULL is allowed.
 * The process that takes over needs the answers before it resolves names itself, so they travel
 * before its configuration is read. Workers may go on meanwhile.
 */
void names_write(const struct names *names, struct carrier *carrier);

/* Answers of another process, for names that this process may have. Zeroed: none. */
struct names_answers {
	struct names_answer *list;
	unsigned count;
};

/* Takes one CARRIER_NAME. Returns 0, -ENOMEM, or -EBADMSG if values are missing. */
int names_read(struct names_answers *answers, struct carrier *carrier);

/*
 * After names_create() and before names_wait(): gives each name the addresses that the other
 * process had, as its last good answer. So names_wait() does not wait for these names, and if DNS
 * fails now the backends stay. The next names_run() asks for them.
 */
void names_use(struct names *names, const struct names_answers *answers);

void names_answers_finish(struct names_answers *answers);

/* Running -------------------------------------------------------------------------------------- */

/* Adds the descriptors to wait for, and when names_run() is due without an event. */
void names_prepare_poll(struct names *names, struct poll_set *set);

/* Takes answers, changes the pools, and asks for the names that are due. Does not wait. */
void names_run(struct names *names, const struct poll_set *set);
