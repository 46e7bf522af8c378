/* SPDX-License-Identifier: MIT */
#include "relay/session_private.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "os/engine.h"
#include "os/host.h"

/* docs/security.md promises this much of sixpipe's own memory for an idle session. */
_Static_assert(sizeof(struct session) <= 512, "an idle session must fit in 512 bytes");

uint64_t session_token(const struct session *session, enum session_request request, unsigned index)
{
	return engine_token(ENGINE_OP_READY, (unsigned)request + index, session->slot,
			    session->generation);
}

uint64_t session_connect_token(const struct session *session)
{
	return engine_token(ENGINE_OP_CONNECT, 0, session->slot, session->generation);
}

struct session_table {
	struct session *free;
	uint32_t slot_count;
	uint32_t touched_count; /* slots below this have been used at least once */
	uint32_t used_count;
	struct session sessions[];
};

static size_t table_bytes(uint32_t slot_count)
{
	return sizeof(struct session_table) + (size_t)slot_count * sizeof(struct session);
}

int session_table_create(struct session_table **table, uint32_t slot_count)
{
	CHECK(slot_count > 0 && slot_count <= ENGINE_SLOT_LIMIT);
	*table = host_reserve_memory(table_bytes(slot_count));
	if (!*table)
		return -ENOMEM;
	(*table)->slot_count = slot_count;
	return 0;
}

void session_table_expect(struct session_table *table, uint32_t count)
{
	host_fill_memory(table, table_bytes(MIN(count, table->slot_count)));
}

void session_table_destroy(struct session_table *table)
{
	CHECK(!table->used_count);
	host_release_memory(table, table_bytes(table->slot_count));
}

struct session *session_table_take(struct session_table *table)
{
	struct session *session = table->free;
	uint32_t generation = 0;
	uint32_t slot;

	if (session) {
		table->free = session->next;
		slot = session->slot;
		generation = session->generation;
	} else if (table->touched_count < table->slot_count) {
		slot = table->touched_count++;
		session = &table->sessions[slot];
	} else {
		return NULL;
	}
	memset(session, 0, sizeof(*session));
	session->slot = slot;
	session->generation = generation;
	session->fd[0] = -1;
	session->fd[1] = -1;
	table->used_count++;
	return session;
}

void session_table_give(struct session_table *table, struct session *session)
{
	CHECK(session->state != SESSION_FREE && !session->in_flight && !session->queued);
	CHECK(!session->tenancy.counted);
	session->state = SESSION_FREE;
	session->generation = (session->generation + 1) % ENGINE_GENERATION_LIMIT;
	session->next = table->free;
	table->free = session;
	table->used_count--;
}

struct session *session_table_at(struct session_table *table, uint32_t slot)
{
	if (slot >= table->touched_count || table->sessions[slot].state == SESSION_FREE)
		return NULL;
	return &table->sessions[slot];
}

struct session *session_table_find(struct session_table *table, uint32_t slot, uint32_t generation)
{
	struct session *session = session_table_at(table, slot);

	return session && session->generation == generation ? session : NULL;
}

uint32_t session_table_end(const struct session_table *table)
{
	return table->touched_count;
}

uint32_t session_table_used_count(const struct session_table *table)
{
	return table->used_count;
}
