/* What a process may lack, or have too much of, when it is started; put right before anything else. */
#pragma once

/*
 * Opens /dev/null, for reading, where descriptors 0 to 2 are closed: otherwise the next file or socket becomes one of
 * them, and gets what is meant for stderr. So stdin is at its end, and a write to stdout or stderr fails as on a closed
 * one. Returns 0 or -errno of open(2).
 */
int startup_open_standard(void);
