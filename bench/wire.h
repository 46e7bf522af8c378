/* SPDX-License-Identifier: MIT */
/*
 * The messages between the two ends of the load generator.
 *
 * Each message is a header and a payload. A payload is a piece of one fixed pattern that starts at
 * a position of the flow's own, which shows lost, doubled, misplaced and foreign pieces. Both ends
 * run on one machine, so numbers are in the machine's byte order.
 *
 *   REQUEST  -> RESPONSE     one at a time per connection
 *   START    -> DATA... END  the backend streams until END comes
 *   DATA...  -> END          the client streams; the backend's END counts the bytes that arrived
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wire_kind {
	WIRE_REQUEST = 1, /* number: request number; value: bytes of the whole response */
	WIRE_RESPONSE,	  /* number: the request's */
	WIRE_START,	  /* value: pacing rate in bytes per second, 0 for none */
	WIRE_DATA,	  /* number: counts from 0 */
	WIRE_END,	  /* number: payload bytes sent as DATA; value: payload bytes received */
	WIRE_KIND_END
};

struct wire_header {
	uint32_t magic;
	uint32_t kind;
	uint32_t flow;
	uint32_t payload_bytes;
	uint64_t number;
	uint64_t value;
};

#define WIRE_HEADER_BYTES ((uint32_t)sizeof(struct wire_header))
#define WIRE_DATA_BYTES	  (256u * 1024u - WIRE_HEADER_BYTES)

struct wire_reader {
	struct wire_header header;
	uint32_t header_got;
	uint32_t payload_got;
	uint64_t data_count; /* DATA messages received whole */
	uint64_t data_bytes; /* their payload */
	bool complete;
};

struct wire_writer {
	struct wire_header header;
	size_t message_bytes;
	size_t sent_bytes;
	uint64_t data_count;
	uint64_t data_bytes;
};

/* Fills the pattern. Call once, before all other functions. */
void wire_init(void);

/*
 * Consumes bytes from *data until a message ends. Returns 1 if header holds a whole message, 0 if
 * *data is used up, -EBADMSG if the other end does not send such bytes.
 */
int wire_reader_next(struct wire_reader *reader, const uint8_t **data, size_t *length);

/* Whether the stream may end here: between two messages. */
bool wire_reader_is_clean(const struct wire_reader *reader);

/* Begins a message. The writer must be idle. */
void wire_writer_begin(struct wire_writer *writer, const struct wire_header *header);

/* Begins the next DATA message of a flow. */
void wire_writer_begin_data(struct wire_writer *writer, uint32_t flow);

/* Whether no message is under way. */
bool wire_writer_is_idle(const struct wire_writer *writer);

/* Sends what the socket takes. 1: the message is out; 0: the socket is full; else -errno. */
int wire_writer_send(struct wire_writer *writer, int fd);
