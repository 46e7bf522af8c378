/* Whom the WHO of a question means: a pool's address, the client of a session, and what may be banned. */
#pragma once

#include "admin/admin_job.h"

/* Whether WHO is an address out of a pool of --source, and whose it is now: job->lease. */
bool admin_whom_find_lease(struct admin_job *job);

/*
 * Sets job->client to whom WHO stands for. An address of a pool stands for whom has it now or, if
 * nobody, had it last, and job->previous for another who had it before. Of any other address, or with
 * a port, all sessions found must be one client's: a port is used again, and for each backend anew.
 * Without a port an address of this host stands for nobody unless it is the client's of all that were
 * found. Returns NULL; or why not, a static string, with the code of the answer.
 */
const char *admin_whom_choose(struct admin_job *job, enum admin_code *code);

/* Why a block may not be banned, and what to do: a static string. NULL: it may. */
const char *admin_whom_refuse(const struct cidr *client);
