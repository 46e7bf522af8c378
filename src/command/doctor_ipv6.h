/* The part of doctor_checks.h that is about IPv6 and addresses that this host does not have. */
#pragma once

#include "command/doctor_checks.h"

/* A check of the table: whether IPv6 clients can get in. It applies only where they cannot. */
bool doctor_judge_v6(const struct doctor_facts *facts, struct doctor_finding *finding);

/* Fills in value and remedy for a listener that bind(2) refuses with EADDRNOTAVAIL. */
void doctor_judge_not_available(const struct doctor_facts *facts, struct doctor_finding *finding);
