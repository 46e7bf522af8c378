/* SPDX-License-Identifier: MIT */
#include "pool_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pool_member pool_fixture_member(unsigned index)
{
	struct pool_member member = {.weight = 1};
	char text[ADDR_TEXT_BYTES];

	snprintf(text, sizeof(text), "192.0.%u.%u:80", 2 + (index + 1) / 256, (index + 1) % 256);
	cr_assert_null(addr_parse(text, &member.address));
	return member;
}

static unsigned count_words(const char *text)
{
	unsigned count = 0;

	for (text += strspn(text, " "); *text; text += strspn(text, " ")) {
		text += strcspn(text, " ");
		count++;
	}
	return count;
}

struct pool *pool_fixture_make(struct pool_settings settings, const char *text)
{
	struct pool_member members[POOL_MEMBERS_LIMIT];
	unsigned count = count_words(text);
	struct pool *pool;

	cr_assert_leq(count, POOL_MEMBERS_LIMIT);
	for (unsigned i = 0; i < count; i++) {
		char *at;

		members[i] = pool_fixture_member(i);
		members[i].weight = (unsigned)strtoul(text, &at, 10);
		if (*at == '/')
			members[i].maxconn = (unsigned)strtoul(at + 1, &at, 10);
		if (*at == 'b') {
			members[i].backup = true;
			at++;
		}
		if (*at == 'x') {
			members[i].off = true;
			at++;
		}
		text = at;
	}
	if (!settings.slots)
		settings.slots = count;
	cr_assert_eq(pool_create(&pool, &settings), 0);
	cr_assert_eq(pool_add_all(pool, members, count), 0);
	return pool;
}

void pool_fixture_remove(struct pool *pool, unsigned member)
{
	struct addr others[POOL_MEMBERS_LIMIT];
	struct pool_group group = {.terms = {.weight = 1}, .addresses = others};

	for (unsigned i = 0; i < pool_slot_count(pool); i++) {
		struct pool_snapshot snapshot;

		pool_snapshot(pool, i, POOL_FIXTURE_MS, &snapshot);
		if (i != member && !snapshot.group && snapshot.state != POOL_EMPTY &&
		    snapshot.state != POOL_DRAINING)
			others[group.count++] = snapshot.address;
	}
	cr_assert_eq(pool_replace(pool, &group), 0);
}

int pool_fixture_choose(struct pool *pool, uint64_t now_ms, struct pool_claim *claim)
{
	struct pool_ask ask = {.now_ms = now_ms};

	memset(claim, 0, sizeof(*claim));
	return pool_choose(pool, &ask, claim);
}

const char *pool_fixture_choices(struct pool *pool, unsigned count, uint64_t now_ms, char *text)
{
	for (unsigned i = 0; i < count; i++) {
		struct pool_claim claim;
		int member = pool_fixture_choose(pool, now_ms, &claim);

		text[i] = (char)(member < 0 ? '-' : 'a' + member);
		pool_end(pool, &claim);
	}
	text[count] = '\0';
	return text;
}

void pool_fixture_count(struct pool *pool, unsigned count, uint64_t now_ms,
			unsigned counts[POOL_MEMBERS_LIMIT])
{
	for (unsigned i = 0; i < count; i++) {
		struct pool_claim claim;
		int member = pool_fixture_choose(pool, now_ms, &claim);

		if (member >= 0)
			counts[member]++;
		pool_end(pool, &claim);
	}
}

struct pool_tried pool_fixture_all_but(unsigned member)
{
	struct pool_tried tried = {{0}};

	for (unsigned i = 0; i < POOL_MEMBERS_LIMIT; i++)
		if (i != member)
			pool_mark_tried(&tried, i);
	return tried;
}

enum pool_change pool_fixture_fail(struct pool *pool, unsigned member, unsigned times,
				   uint64_t now_ms)
{
	struct pool_tried tried = pool_fixture_all_but(member);
	struct pool_ask ask = {.tried = &tried, .now_ms = now_ms};
	enum pool_change change = POOL_UNCHANGED;

	for (unsigned i = 0; i < times && change != POOL_WENT_DOWN; i++) {
		struct pool_claim claim = {0};

		cr_assert_eq(pool_choose(pool, &ask, &claim), (int)member);
		change = pool_failed(pool, &claim, now_ms);
		pool_end(pool, &claim);
	}
	return change;
}

enum pool_state pool_fixture_state(const struct pool *pool, unsigned member, uint64_t now_ms)
{
	struct pool_snapshot snapshot;

	pool_snapshot(pool, member, now_ms, &snapshot);
	return snapshot.state;
}
