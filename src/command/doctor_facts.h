/* SPDX-License-Identifier: MIT */
/* Gathers the facts for doctor_checks.h: kernel settings, limits, capabilities, a ring, a bind. */
#pragma once

#include "command/doctor_checks.h"

/*
 * Asks the host. `root` stands before the paths of /proc and of control groups; "" is this host.
 * Makes a ring and closes it. Binds each listener, and does not listen. `config` must outlive the
 * facts.
 */
void doctor_gather(const char *root, const struct config *config, struct doctor_facts *facts);

/*
 * The `index`th number, from 0, in a file of numbers such as /proc/sys/net/ipv4/tcp_mem;
 * DOCTOR_UNKNOWN when there is no such file or number.
 */
int64_t doctor_read_number(const char *root, const char *path, unsigned index);

/* Prints a listener that has no fault, and why it can be used. */
void doctor_print_listener(const struct doctor_listener *listener, char text[DOCTOR_TEXT_BYTES]);
