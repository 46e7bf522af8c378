/* What a process may lack, or have too much of, when it is started; put right before anything else. */
#pragma once

#define STARTUP_ERROR_BYTES 256

/*
 * What the main thread's stack must be allowed to grow to (`ulimit -s`, RLIMIT_STACK), arguments and environment
 * included; without those 40 KiB have been seen in use. Other threads: base/thread.h.
 */
#define STARTUP_STACK_BYTES (256 << 10)

/*
 * The first thing in main(), for every command. Opens /dev/null, for reading, where descriptors 0 to 2 are closed:
 * otherwise the next file or socket becomes one of them, and gets what is meant for stderr. So stdin is at its end, and
 * a write to stdout or stderr fails as on a closed one. Then raises the limit on the stack to STARTUP_STACK_BYTES where
 * it is less. Returns 0, or -errno of open(2) or setrlimit(2) with `error`, which names what failed and the remedy.
 */
int startup_prepare(char error[STARTUP_ERROR_BYTES]);

/*
 * Closes the descriptors from 3 on that came with execve(2), but those that a service manager passes by LISTEN_FDS and
 * LISTEN_PID (sd_listen_fds(3)). Those opened since are close-on-exec, and so told from them.
 */
void startup_close_inherited(void);
