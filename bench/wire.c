/* SPDX-License-Identifier: MIT */
#include "wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define WIRE_MAGIC 0x36706970u

/* Every flow starts at one of these positions of the pattern. */
#define PHASE_COUNT	 1024u
#define PHASE_STEP_BYTES 64u
#define PATTERN_BYTES	 (256u * 1024u + PHASE_COUNT * PHASE_STEP_BYTES)

/* One word in so many bytes is compared: some of every page, at little cost. */
#define CHECK_STEP_BYTES 4096u

static uint64_t pattern_words[PATTERN_BYTES / sizeof(uint64_t)];

void wire_init(void)
{
	uint64_t state = 0;

	for (size_t i = 0; i < PATTERN_BYTES / sizeof(uint64_t); i++) {
		/* splitmix64 */
		uint64_t word = state += 0x9e3779b97f4a7c15u;

		word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9u;
		word = (word ^ (word >> 27)) * 0x94d049bb133111ebu;
		pattern_words[i] = word ^ (word >> 31);
	}
}

static const uint8_t *pattern_of_flow(uint32_t flow)
{
	return (const uint8_t *)pattern_words + (flow % PHASE_COUNT) * PHASE_STEP_BYTES;
}

static bool header_is_valid(const struct wire_reader *reader)
{
	const struct wire_header *header = &reader->header;

	if (header->magic != WIRE_MAGIC || header->kind == 0 || header->kind >= WIRE_KIND_END ||
	    header->payload_bytes > WIRE_DATA_BYTES)
		return false;
	return header->kind != WIRE_DATA || header->number == reader->data_count;
}

static bool payload_is_valid(const struct wire_reader *reader, const uint8_t *data, size_t length)
{
	const uint8_t *expected = pattern_of_flow(reader->header.flow) + reader->payload_got;
	size_t word = length < sizeof(uint64_t) ? length : sizeof(uint64_t);

	for (size_t at = 0; at + word <= length; at += CHECK_STEP_BYTES) {
		if (memcmp(data + at, expected + at, word) != 0)
			return false;
	}
	return memcmp(data + length - word, expected + length - word, word) == 0;
}

static size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

int wire_reader_next(struct wire_reader *reader, const uint8_t **data, size_t *length)
{
	size_t take;

	if (reader->complete) {
		reader->complete = false;
		reader->header_got = 0;
		reader->payload_got = 0;
	}
	if (reader->header_got < WIRE_HEADER_BYTES) {
		take = min_size(*length, WIRE_HEADER_BYTES - reader->header_got);
		memcpy((uint8_t *)&reader->header + reader->header_got, *data, take);
		reader->header_got += (uint32_t)take;
		*data += take;
		*length -= take;
		if (reader->header_got < WIRE_HEADER_BYTES)
			return 0;
		if (!header_is_valid(reader))
			return -EBADMSG;
	}
	take = min_size(*length, reader->header.payload_bytes - reader->payload_got);
	if (take > 0) {
		if (!payload_is_valid(reader, *data, take))
			return -EBADMSG;
		reader->payload_got += (uint32_t)take;
		*data += take;
		*length -= take;
	}
	if (reader->payload_got < reader->header.payload_bytes)
		return 0;
	if (reader->header.kind == WIRE_DATA) {
		reader->data_count++;
		reader->data_bytes += reader->header.payload_bytes;
	}
	reader->complete = true;
	return 1;
}

bool wire_reader_is_clean(const struct wire_reader *reader)
{
	return reader->complete || reader->header_got == 0;
}

void wire_writer_begin(struct wire_writer *writer, const struct wire_header *header)
{
	writer->header = *header;
	writer->header.magic = WIRE_MAGIC;
	writer->message_bytes = WIRE_HEADER_BYTES + header->payload_bytes;
	writer->sent_bytes = 0;
}

void wire_writer_begin_data(struct wire_writer *writer, uint32_t flow)
{
	struct wire_header header = {
		.kind = WIRE_DATA,
		.flow = flow,
		.payload_bytes = WIRE_DATA_BYTES,
		.number = writer->data_count,
	};

	wire_writer_begin(writer, &header);
	writer->data_count++;
	writer->data_bytes += WIRE_DATA_BYTES;
}

bool wire_writer_is_idle(const struct wire_writer *writer)
{
	return writer->sent_bytes == writer->message_bytes;
}

int wire_writer_send(struct wire_writer *writer, int fd)
{
	while (!wire_writer_is_idle(writer)) {
		size_t sent = writer->sent_bytes;
		size_t head = sent < WIRE_HEADER_BYTES ? WIRE_HEADER_BYTES - sent : 0;
		size_t payload_sent = head > 0 ? 0 : sent - WIRE_HEADER_BYTES;
		struct iovec parts[2] = {
			{(uint8_t *)&writer->header + (WIRE_HEADER_BYTES - head), head},
			{(void *)(pattern_of_flow(writer->header.flow) + payload_sent),
			 writer->header.payload_bytes - payload_sent},
		};
		struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
		ssize_t n = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		writer->sent_bytes += (size_t)n;
	}
	return 1;
}
