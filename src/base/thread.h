/* SPDX-License-Identifier: MIT */
/* Threads with a stack of fixed size, which `ulimit -s` does not change. */
#pragma once

#include <pthread.h>

/*
 * The size of a thread's stack. This is address space; only pages that are written to use memory.
 * Workers have been seen to use 28 KiB. The deepest chain of calls, with a log line of 16 KiB,
 * needs 60 KiB, and with a sanitizer several times as much.
 */
#define THREAD_STACK_BYTES (512 << 10)

/*
 * pthread_create(3) with a stack of THREAD_STACK_BYTES. The caller must join the thread. The thread
 * inherits the caller's signal mask. Returns 0 or -errno.
 */
int thread_start(pthread_t *thread, void *(*run)(void *argument), void *argument);
