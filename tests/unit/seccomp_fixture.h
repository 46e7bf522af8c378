/* SPDX-License-Identifier: MIT */
/* Makes system calls of the calling thread fail, by seccomp(2). */
#pragma once

#include <stdatomic.h>

/*
 * From now on system call `number` returns -`error` to this thread and to threads that it starts.
 */
void fixture_refuse(int number, int error);

/*
 * From now on system call `number` of this thread asks another thread, which answers -`error` while
 * `refuses` is true, and lets the call through otherwise. The test is skipped where the kernel
 * cannot do that.
 */
void fixture_ask(int number, int error, const atomic_bool *refuses);
