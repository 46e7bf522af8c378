/* Whom the WHO of a question means: a pool's address, the client of a session, and what may be banned. */
#pragma once

#include "admin/admin_job.h"

/* Whether WHO is an address out of a pool of --source, and whose it is now: job->lease. */
bool admin_whom_find_lease(struct admin_job *job);

/*
 * Sets job->client to whom the sessions found belong, or the lease. They must agree: a port is used
 * again, and for each backend anew. Without a port a source address counts only where it is one
 * client's: the address of this host stands for everybody. Returns NULL, or why not, a static string.
 */
const char *admin_whom_choose(struct admin_job *job);

/* Why a block may not be banned, and what to do: a static string. NULL: it may. */
const char *admin_whom_refuse(const struct cidr *client);
