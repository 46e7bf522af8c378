/*
 * The way of log lines from workers to stderr: one single-producer, single-consumer ring per thread
 * and a writer thread that may block in write(2) so that no worker has to. Used by log.c alone.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_ring;

#define LOG_RING_BYTES 262144 /* per worker: some 1,500 access-log lines between two writes */

/* See log_start(), log_attach(), log_stop(). `on_dropped` runs on the writer thread. */
int log_rings_start(unsigned count, void (*on_dropped)(uint64_t lines));
struct log_ring *log_rings_get(unsigned index);
bool log_rings_stop(unsigned limit_ms); /* false: not everything could be written */

/* Lines lost to full rings since the start. */
uint64_t log_rings_dropped_count(void);

/* Copies a whole line in, or counts it as dropped. Wakes the writer only when that sleeps. */
void log_ring_put(struct log_ring *ring, const char *line, size_t length_bytes);

/*
 * Writes everything to stderr, blocking if it must; gives up on an error, for there is nobody to
 * tell.
 */
void log_write_all(const char *text, size_t length_bytes);
