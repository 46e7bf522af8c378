/* SPDX-License-Identifier: MIT */
/*
 * The parent process: the process that was started, whose number the service manager knows. It
 * forks the first process that serves, and starts the next one at the request of the current one
 * (parent_link.h). It passes signals on (signals.def), reaps every child, and ends with the exit
 * code of the last process that served. It has one thread, no privilege once the first process has
 * none, and no socket but one end of a connection to each child. It reads nothing from a network.
 *
 * The children:
 *
 *	current	the process that serves; reload and upgrade signals go to it
 *	newest	the process that was started last: the current one, or about to take over from it
 *	others	processes that have handed over, and drain their last sessions
 *
 * The parent ends all children by SIGKILL when it ends, PR_SET_PDEATHSIG, also if it is killed.
 */
#pragma once

#include "control/parent_link.h"

/*
 * Forks. Returns true in the child, which has `link`, and false in the parent after its last child
 * has ended: then *exit_code is the exit code for main(), without output. If the last process was
 * ended by a signal, the parent ends itself by the same signal instead, without a core dump; as
 * process 1, which no signal ends so, *exit_code is 128 and its number. Where fork(2) or what it
 * needs fails, the parent has written an error, and *exit_code is 1.
 *
 * `argv` is that of main(); later processes get it too, with the environment as it is now. Call it
 * before any thread is made, any file is opened for good, and any privilege is given up.
 */
bool parent_fork(struct parent_link *link, char **argv, int *exit_code);
