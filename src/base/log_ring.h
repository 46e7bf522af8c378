/*
 * The way of log lines from workers to stderr: one single-producer, single-consumer ring per thread
 * and a writer thread that may block in write(2) so that nobody else has to. The main thread's ring is there before
 * the writer thread, and after it. Used by log.c alone.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_ring;

#define LOG_RING_BYTES 262144 /* per worker: some 1,500 access-log lines between two writes */

/*
 * `on_dropped` runs on the writer thread, after lines were lost and one was written again; `error` is the errno that
 * stderr last answered, 0 where it was only slow.
 */
typedef void log_on_dropped(uint64_t lines, int error);

/* See log_hold(), log_start(), log_attach(), log_stop(). */
struct log_ring *log_rings_hold(log_on_dropped *on_dropped);
int log_rings_start(unsigned count);
struct log_ring *log_rings_get(unsigned index);
bool log_rings_stop(unsigned limit_ms); /* false: not everything could be written */

/* Lines lost since the start: to full rings, and to a stderr that answered an error. */
uint64_t log_rings_dropped_count(void);

/* Copies a whole line in, or counts it as dropped. Wakes the writer only when that sleeps. */
void log_ring_put(struct log_ring *ring, const char *line, size_t length_bytes);

/*
 * Writes everything to stderr, blocking if it must; gives up on an error, as of a full disk. Returns how many bytes
 * were not written.
 */
size_t log_write_all(const char *text, size_t length_bytes);
