/* SPDX-License-Identifier: MIT */
#include "forward/history_carry.h"

#include <errno.h>
#include <string.h>

#include "forward/forward_carry.h"

/* Longer than every word of close_reasons.def. */
#define WORD_BYTES 64

static void write_session(const struct session_record *session, const struct forwards *forwards,
			  struct carrier *carrier)
{
	enum close_reason reason = (enum close_reason)session->reason;

	carrier_begin(carrier, CARRIER_HISTORY);
	carrier_put_text(carrier, forwards->list[session->forward].config->name);
	carrier_put_text(carrier, close_reason_rule(reason)->word);
	carrier_put_addr(carrier, &session->client);
	carrier_put_addr(carrier, &session->backend);
	carrier_put_addr(carrier, &session->source);
	carrier_put(carrier, session->opened_ms);
	carrier_put(carrier, session->closed_ms);
	carrier_put(carrier, session->bytes_up);
	carrier_put(carrier, session->bytes_down);
	carrier_put(carrier, session->has_own_source);
	carrier_put(carrier, session->is_embedded);
	carrier_end(carrier);
}

void history_write(const struct history *history, const struct forwards *forwards,
		   struct carrier *carrier)
{
	uint64_t end = history_end(history);
	uint64_t number = end > HISTORY_LIMIT ? end - HISTORY_LIMIT : 0;

	for (; number < end; number++) {
		const struct session_record *session = history_find(history, number);

		if (session)
			write_session(session, forwards, carrier);
	}
}

/* The name of a local socket is the configuration's memory: uses that of the same backend. */
static void keep_local(struct addr *address, const struct forward *forward)
{
	const struct config_forward *config = forward->config;

	if (!address->length_bytes || !addr_is_local(address) || !address->local.name)
		return;
	for (unsigned i = 0; i < config->backend_count; i++) {
		if (addr_equal(&config->backends[i].addr, address)) {
			*address = config->backends[i].addr;
			return;
		}
	}
	*address = (struct addr){0};
}

/* CLOSE_done for a word that this process does not know. */
static uint8_t find_reason(const char *word)
{
	for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++)
		if (!strcmp(close_reason_rule((enum close_reason)i)->word, word))
			return (uint8_t)i;
	return CLOSE_done;
}

int history_read(struct history *history, struct forwards *forwards, struct carrier *carrier)
{
	const struct forward *forward = forwards_take_name(forwards, carrier);
	struct session_record session = {0};
	struct sockaddr_un names[3]; /* not used later: keep_local() */
	char word[WORD_BYTES];

	session.reason = find_reason(carrier_take_text(carrier, word, sizeof(word)));
	carrier_take_addr(carrier, &session.client, &names[0]);
	carrier_take_addr(carrier, &session.backend, &names[1]);
	carrier_take_addr(carrier, &session.source, &names[2]);
	session.opened_ms = carrier_take(carrier);
	session.closed_ms = carrier_take(carrier);
	session.bytes_up = carrier_take(carrier);
	session.bytes_down = carrier_take(carrier);
	session.has_own_source = carrier_take(carrier) != 0;
	session.is_embedded = carrier_take(carrier) != 0;
	if (!carrier_is_whole(carrier))
		return -EBADMSG;
	if (!forward)
		return 0;
	session.forward = (uint16_t)forward->index;
	keep_local(&session.backend, forward);
	keep_local(&session.client, forward);
	keep_local(&session.source, forward);
	history_add(history, &session);
	return 0;
}
