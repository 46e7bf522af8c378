/* The part of doctor_checks.h that is about pipes. */
#pragma once

#include "command/doctor_checks.h"

/*
 * Makes the pipes that a start would make now, as this user and beside all that it runs, and closes them:
 * facts->pipes and facts->pipe_bytes. Other programs of the user may get small pipes in that moment: pipe(7).
 */
void doctor_gather_pipes(struct doctor_facts *facts);

/* A check of the table. */
bool doctor_judge_pipes(const struct doctor_facts *facts, struct doctor_finding *finding);
