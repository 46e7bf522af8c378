/*
 * Log rings carry the log lines of threads to stderr. Each worker and the main thread has a ring
 * with one producer and one consumer. The consumer is the writer thread, the only thread that may
 * block in write(2). The main thread's ring exists before the writer thread starts and after it has
 * ended. Only log.c uses this.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_ring;

#define LOG_RING_BYTES 262144 /* about 1,500 lines of the access log between two writes */

/*
 * Called on the writer thread when `lines` lines were lost and a later line was written. `error` is
 * the errno of the failed write to stderr, or 0 if stderr was only slow.
 */
typedef void log_on_dropped(uint64_t lines, int error);

/* Implement log_hold(), log_start(), log_attach() and log_stop(). */
struct log_ring *log_rings_hold(log_on_dropped *on_dropped);
int log_rings_start(unsigned count);
struct log_ring *log_rings_get(unsigned index);
bool log_rings_stop(unsigned limit_ms); /* false: time was up before all lines were written */

/* The number of lines lost since the start, because a ring was full or a write to stderr failed. */
uint64_t log_rings_dropped_count(void);

/*
 * Copies a whole line into the ring, or counts it as dropped. Wakes the writer thread if it sleeps.
 */
void log_ring_put(struct log_ring *ring, const char *line, size_t length_bytes);

/*
 * Writes all bytes to stderr; may block. Stops at an error such as a full disk. Returns the number
 * of bytes that were not written.
 */
size_t log_write_all(const char *text, size_t length_bytes);
