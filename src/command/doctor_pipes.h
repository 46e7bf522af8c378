/* The check of pipes, for doctor_checks.h. */
#pragma once

#include "command/doctor_checks.h"

/*
 * Makes the pipes that a start would make now, as this user, and closes them: facts->pipes and
 * facts->pipe_bytes. Meanwhile other programs of the user may get small pipes: pipe(7).
 */
void doctor_gather_pipes(struct doctor_facts *facts);

/* A check of the table. */
bool doctor_judge_pipes(const struct doctor_facts *facts, struct doctor_finding *finding);
