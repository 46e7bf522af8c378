/* SPDX-License-Identifier: MIT */
#include "identity/lease_bucket.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "support.h"

/* The steps of two threads in chosen orders, both done by this one thread. */

TestSuite(lease_bucket, .fini = support_check_leaks);

static struct lease_view make_view(unsigned client, uint32_t address)
{
	struct lease_view view = {.address = address, .used_s = 7};

	view.prefix.s6_addr[15] = (uint8_t)client;
	return view;
}

/* The state of a thread that has proposed a lease and sleeps. */
static struct lease_view propose(struct lease_bucket *bucket, unsigned index, unsigned client,
				 uint32_t address)
{
	struct lease_view view = make_view(client, address);
	uint64_t word = bucket->leases[index].word;

	cr_assert(lease_claim(&bucket->leases[index], word));
	lease_propose(&bucket->leases[index], &view);
	return view;
}

static bool is_granted(struct lease_bucket *bucket, unsigned index, const struct lease_view *view)
{
	return lease_is_granted(&bucket->leases[index], view->word);
}

Test(lease_bucket, one_lease)
{
	static struct lease_bucket bucket;
	struct lease *lease = &bucket.leases[3];
	struct lease_view view, seen;
	uint64_t word;

	cr_expect_not(lease_look(lease, &seen));
	view = propose(&bucket, 3, 1, 100);
	cr_expect(lease_look(lease, &seen));
	cr_expect_eq(lease_stage_of(seen.word), LEASE_PROPOSED);
	cr_expect_eq(lease_join(lease, seen.word), -EAGAIN);
	cr_expect_not(lease_claim(lease, seen.word));
	cr_expect(lease_bucket_settle(&bucket, 3, &view));
	cr_expect_not(lease_bucket_settle(&bucket, 3, &view), "it was granted already");
	cr_expect(is_granted(&bucket, 3, &view));
	cr_expect(lease_look(lease, &seen));
	cr_expect(seen.address == 100 && seen.used_s == 7 && seen.prefix.s6_addr[15] == 1);
	cr_expect_eq(lease_join(lease, seen.word), 1);
	cr_expect_not(lease_claim(lease, lease->word));
	cr_expect_eq(lease_leave(lease), 1);
	cr_expect_eq(lease_leave(lease), 0);
	word = lease->word;
	cr_expect_eq(lease_join(lease, seen.word), 0, "revived");
	cr_expect_not(lease_claim(lease, word), "evicted meanwhile");
	cr_expect_eq(lease_leave(lease), 0);
	cr_expect(lease_claim(lease, word));
	cr_expect_eq(lease_join(lease, seen.word), -EAGAIN, "revived after its eviction");
	cr_expect_not(lease_look(lease, &seen));
	cr_expect_not(is_granted(&bucket, 3, &view));
}

Test(lease_bucket, proposals_in_conflict)
{
	static const struct {
		const char *what;
		unsigned client[2];
		uint32_t address[2];
		bool conflict;
	} rows[] = {
		{"one client", {1, 1}, {100, 200}, true},
		{"one address", {1, 2}, {100, 100}, true},
		{"the same", {1, 1}, {100, 100}, true},
		{"nothing in common", {1, 2}, {100, 200}, false},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		/*
		 * settled first: the lower slot, the upper slot, or the upper slot after it was
		 * granted
		 */
		for (unsigned order = 0; order < 3; order++) {
			struct lease_bucket *bucket = calloc(1, sizeof(*bucket));
			struct lease_view low = {0}, high;

			cr_assert_not_null(bucket);
			if (order < 2)
				low = propose(bucket, 2, rows[i].client[0], rows[i].address[0]);
			high = propose(bucket, 9, rows[i].client[1], rows[i].address[1]);
			if (order == 2) {
				cr_assert(lease_bucket_settle(bucket, 9, &high));
				low = propose(bucket, 2, rows[i].client[0], rows[i].address[0]);
			}
			if (order)
				lease_bucket_settle(bucket, 9, &high);
			lease_bucket_settle(bucket, 2, &low);
			lease_bucket_settle(bucket, 9, &high);
			cr_expect_eq(is_granted(bucket, 2, &low), order < 2 || !rows[i].conflict,
				     "%s, order %u", rows[i].what, order);
			cr_expect_eq(is_granted(bucket, 9, &high), order == 2 || !rows[i].conflict,
				     "%s, order %u", rows[i].what, order);
			free(bucket);
		}
	}
}

/* A thread sleeps after its proposal. Another thread grants the lease; the reference stays. */
Test(lease_bucket, helped)
{
	static struct lease_bucket bucket;
	struct lease_view own = propose(&bucket, 5, 1, 100), seen;

	cr_assert(lease_look(&bucket.leases[5], &seen));
	cr_expect(lease_bucket_settle(&bucket, 5, &seen));
	cr_assert(lease_look(&bucket.leases[5], &seen));
	cr_expect_eq(lease_join(&bucket.leases[5], seen.word), 1);
	cr_expect_eq(lease_leave(&bucket.leases[5]), 1);
	/* the thread wakes up */
	cr_expect_not(lease_bucket_settle(&bucket, 5, &own));
	cr_expect(is_granted(&bucket, 5, &own));
	cr_expect_eq(lease_leave(&bucket.leases[5]), 0);
}

/* A thread wakes up after its proposal was taken back and its slot reused. It changes nothing. */
Test(lease_bucket, late)
{
	static struct lease_bucket bucket;
	struct lease_view late = propose(&bucket, 5, 1, 100);
	struct lease_view first = propose(&bucket, 1, 1, 200), other;

	cr_expect(lease_bucket_settle(&bucket, 1, &first));
	cr_expect_eq(lease_stage_of(bucket.leases[5].word), LEASE_EMPTY);
	other = propose(&bucket, 5, 3, 300);
	cr_expect_not(lease_bucket_settle(&bucket, 5, &late));
	cr_expect_eq(lease_stage_of(bucket.leases[5].word), LEASE_PROPOSED);
	cr_expect(lease_bucket_settle(&bucket, 5, &other));
	cr_expect_not(is_granted(&bucket, 5, &late));
	/* nor can a thread join the new lease by the word of the old lease */
	lease_leave(&bucket.leases[1]);
	cr_assert(lease_look(&bucket.leases[1], &first));
	other = propose(&bucket, 1, 4, 400);
	cr_assert(lease_bucket_settle(&bucket, 1, &other));
	cr_expect_eq(lease_join(&bucket.leases[1], first.word), -EAGAIN);
}

static void join_too_often(void *argument)
{
	struct lease *lease = argument;

	lease->word |= LEASE_REFERENCES_MAX;
	lease_join(lease, lease->word);
}

static void leave_too_often(void *argument)
{
	lease_leave(argument);
}

Test(lease_bucket, misuse_aborts)
{
	static struct lease_bucket bucket;
	struct lease_view view = propose(&bucket, 0, 1, 100);

	cr_assert(lease_bucket_settle(&bucket, 0, &view));
	cr_expect(support_aborts(join_too_often, &bucket.leases[0]));
	lease_leave(&bucket.leases[0]);
	cr_expect(support_aborts(leave_too_often, &bucket.leases[0]));
}
