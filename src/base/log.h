/*
 * The log: one line per event on stderr, as logfmt or JSON.
 *
 * A worker never writes to stderr itself, for the reader of stderr may stall. log_attach() gives a
 * thread a ring (log_ring.h); the writer thread that log_start() creates carries lines from the
 * rings to stderr. A full ring drops the line and counts it, and so does a stderr that answers an error, as of a full
 * disk. Threads without a ring write at once.
 *
 * Each kind of event has a rate in log_events.def; what is held back is counted and reported as
 * `suppressed=N` on the next line of its kind. Values are escaped: one event is always one line.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_LOGFMT, LOG_JSON };

enum log_event {
#define LOG_EVENT(word, level, rate, meaning) LOG_EVENT_##word,
#include "base/log_events.def"
#undef LOG_EVENT
	LOG_EVENT_COUNT
};

/* One line; fields that do not fit are left out, and `truncated=true` says so. */
#define LOG_LINE_BYTES 16384

struct log_line {
	char text[LOG_LINE_BYTES];
	size_t length_bytes;
	bool json;
	bool truncated;
	bool list_open;
	bool list_has_items;
};

/* Sets what is logged and how; call before any thread starts. Without it: info, logfmt. */
void log_init(enum log_level level, enum log_format format);

/*
 * Gives the calling thread, which is the main thread, a ring of its own: from here on its lines wait for the writer thread, and no
 * reader of stderr can hold it up. The caller must call log_stop() at the end, also when the start fails.
 */
void log_hold(void);

/*
 * Creates the rings for `worker_count` workers and the writer thread (signals blocked in the caller are blocked there
 * too), once in a process, and calls log_hold(). Returns 0 or -errno.
 */
int log_start(unsigned worker_count);

/* Gives the calling thread ring `worker`; called once by each worker before it logs. */
void log_attach(unsigned worker);

/*
 * Writes out what the rings hold, waiting at most `limit_ms`, and ends the writer thread. What the caller logs later
 * waits for another log_stop(). If stderr's reader takes longer, the rest of the log is given up.
 */
void log_stop(unsigned limit_ms);

/* How long the last lines of a process may take to reach a slow reader of stderr. */
#define LOG_FLUSH_LIMIT_MS 2000

/*
 * Begins a line. False when the event's level is switched off or its rate is used up: then nothing
 * else must be called for it. `line` is the caller's, and holds no references.
 */
bool log_begin(struct log_line *line, enum log_event event);
void log_text(struct log_line *line, const char *key, const char *value);
void log_number(struct log_line *line, const char *key, uint64_t value);
void log_addr(struct log_line *line, const char *key, const struct addr *address);
void log_error(struct log_line *line, const char *key, int error); /* an errno, of either sign */

/* A repeated key in logfmt, one array in JSON: begin, any number of items, end. */
void log_list_begin(struct log_line *line, const char *key);
void log_list_item(struct log_line *line, const char *key, const char *value);
void log_list_end(struct log_line *line);

/* Room for a date. */
#define LOG_DATE_BYTES 80

/*
 * Prints the date of a time in milliseconds since 1970: UTC, as 2026-11-23T07:21:00.123Z (RFC 3339).
 * Takes no lock. Returns `text`.
 */
const char *log_date_print(uint64_t unix_ms, char text[LOG_DATE_BYTES]);

/* Ends the line and hands it over. Never blocks on a thread that has a ring. */
void log_end(struct log_line *line);

/*
 * Hands over text that is not an event but is written for a person (an error of the start): `length_bytes` of whole
 * lines, which come out in the order of the caller's log lines, and as log_end() hands them over.
 */
void log_print(const char *text, size_t length_bytes);

/* "error", "warn", "info", "debug". */
const char *log_level_name(enum log_level level);
