/* SPDX-License-Identifier: MIT */
/* Which client the WHO of a request means, and which blocks may be banned. */
#pragma once

#include "admin/admin_job.h"

/* Whether WHO is a leased source address. Stores the client that has the lease in job->lease. */
bool admin_whom_find_lease(struct admin_job *job);

/*
 * Sets job->client to the client that WHO means, by the sessions in job->found:
 *
 *	- a leased address: the client that has the lease now, or else the last client that had it.
 *	  job->previous is another client that had it before.
 *	- any other address, or an address with a port: the client of all sessions found. It must be
 *	  one client, for ports are used again, and for each backend.
 *	- an address of this host without a port, which clients share: only a client that has this
 *	  very address.
 *
 * Returns NULL; otherwise the reason, a static string, with the code of the answer.
 */
const char *admin_whom_choose(struct admin_job *job, enum admin_code *code);

/* NULL if the block may be banned; otherwise the reason and the remedy, a static string. */
const char *admin_whom_refuse(const struct cidr *client);
