/* SPDX-License-Identifier: MIT */
/*
 * Repairs what a process can inherit from the process that started it: closed or foreign
 * descriptors, a small stack.
 */
#pragma once

#include "base/fault.h"

/*
 * The least limit on the main thread's stack (`ulimit -s`, RLIMIT_STACK), arguments and environment
 * included. Without these two, up to 40 KiB have been seen in use. Other threads: base/thread.h.
 */
#define STARTUP_STACK_BYTES (256 << 10)

/*
 * The first call in main(), for every command. Opens /dev/null for reading in place of each of the
 * descriptors 0 to 2 that is closed. Otherwise the next file or socket would get this number, and
 * with it the text for stderr. A read from such a stdin finds the end of the file; a write to such
 * a stdout or stderr fails. Then raises the limit on the stack to STARTUP_STACK_BYTES if it is
 * lower. Returns 0, or -errno of open(2) or setrlimit(2) with `fault`, which names what failed and
 * the remedy.
 */
int startup_prepare(struct fault *fault);

/*
 * Closes the descriptors from 3 on that this process inherited by execve(2). Descriptors that this
 * process has opened are not closed, because they are close-on-exec; nor are those that
 * activation_take() has taken.
 */
void startup_close_inherited(void);
