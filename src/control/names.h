/*
 * Backends by name: what resolver.h finds out becomes the members of the pools. All of it is the
 * control thread's; workers know nothing of names, and never wait for one.
 *
 * Every address of a name is a member with the backend's parameters. One that stays keeps its
 * health; sessions with one that goes go on. A name that fails keeps its addresses. The same name in
 * several places, be it with other ports, is asked for once.
 */
#pragma once

#include "config/config.h"
#include "control/resolver.h"
#include "forward/forward.h"

struct names;

/*
 * Reads resolv.conf(5) where no --dns-server is given, and asks nobody yet; *names is NULL where no
 * backend has a name. `forwards` must outlive it. Returns 0, or -errno with `fault`
 * naming the object, the reason and the remedy.
 */
int names_create(struct names **names, struct forwards *forwards, struct fault *fault);

/* Drops the questions under way; the members stay. NULL is allowed. */
void names_destroy(struct names *names);

/*
 * For the start: asks, and blocks until every name has had an answer (--resolve-at-start try) or an
 * address (require), no longer than --resolve-timeout, nor once TERM or INT, which must be
 * blocked, are pending. Returns 0, or -ENOENT when names are required and one has no address; `errors` gets
 * all of these.
 */
int names_wait(struct names *names, struct config_errors *errors);

/* Adds the descriptors to wait for, and when names_run() is due without an event. */
void names_prepare_poll(struct names *names, struct poll_set *set);

/* Takes answers, changes the pools and asks what is due; without waiting. */
void names_run(struct names *names, const struct poll_set *set);
