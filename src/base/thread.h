/* Threads with a stated stack, so that `ulimit -s` of whoever starts the process does not size them. */
#pragma once

#include <pthread.h>

/*
 * A thread's stack, in addresses; memory is used as far as it is written to. Workers have been seen to use 28 KiB; the
 * frames of the deepest calls, a log line of 16 KiB among them, come to 60 KiB, and a sanitizer makes them several times as large.
 */
#define THREAD_STACK_BYTES (512 << 10)

/*
 * pthread_create(3) with a stack of THREAD_STACK_BYTES. The caller joins the thread. Signals blocked in the caller
 * are blocked in the thread too. Returns 0 or -errno.
 */
int thread_start(pthread_t *thread, void *(*run)(void *argument), void *argument);
