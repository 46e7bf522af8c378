/* SPDX-License-Identifier: MIT */
#include "identity/lease_pool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/check.h"
#include "base/memory.h"

/* Attempts for one client. An attempt fails only if another thread got a lease in the meantime. */
#define ATTEMPT_LIMIT 128

/* A client that needs a lease. */
struct request {
	struct lease_bucket *bucket;
	struct lease_draw draw; /* after the first candidate */
	int32_t now_s;
};

static int32_t to_seconds(uint64_t now_ms)
{
	return (int32_t)(now_ms / 1000);
}

static struct in_addr to_network(uint32_t address)
{
	return (struct in_addr){htonl(address)};
}

static struct lease_bucket *bucket_of(const struct lease_pool *pool, uint32_t address)
{
	return &pool->buckets[lease_block_region(&pool->block, address) & (pool->bucket_count - 1)];
}

/* The slot of the bucket where the search for an address begins: mostly the right slot. */
static unsigned home_of(uint32_t address)
{
	return (uint32_t)(address * UINT32_C(0x9e3779b1)) / (UINT32_MAX / LEASE_BUCKET_LEASES + 1);
}

static struct cidr client_of(const struct lease_pool *pool, const struct in6_addr *address)
{
	return cidr_client_of(address, pool->client_bits);
}

static bool begin_request(const struct lease_pool *pool, const struct in6_addr *prefix,
			  int32_t now_s, struct request *request)
{
	uint32_t first;

	lease_draw_init(&request->draw, &pool->block, prefix);
	if (!lease_draw_next(&request->draw, &first))
		return false;
	request->bucket = bucket_of(pool, first);
	request->now_s = now_s;
	return true;
}

/* Making --------------------------------------------------------------------------------------- */

int lease_pool_create(const struct lease_pool_options *options,
		      const uint8_t key[SIPHASH_KEY_BYTES], struct lease_pool **pool,
		      struct fault *fault)
{
	struct lease_pool *made;
	struct lease_block block;
	size_t bytes;
	int result = lease_block_init(&block, &options->block, key, fault);

	CHECK(options->client_bits == 64 || options->client_bits == 128);
	CHECK(options->lease_count >= LEASE_COUNT_MIN && options->lease_count <= LEASE_COUNT_MAX);
	if (result)
		return result;
	made = memory_alloc_lines(sizeof(*made));
	if (!made)
		goto no_memory;
	made->block = block;
	made->client_bits = options->client_bits;
	made->bucket_count = 1;
	while (made->bucket_count < lease_block_region_count(&block) &&
	       made->bucket_count * LEASE_BUCKET_LEASES < options->lease_count * 2)
		made->bucket_count *= 2;
	bytes = made->bucket_count * sizeof(*made->buckets);
	/* zeroed, and resident only page by page as it is written to */
	made->buckets =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (made->buckets == MAP_FAILED)
		goto no_memory;
	*pool = made;
	return 0;
no_memory:
	free(made);
	fault_set(fault, NULL, NULL,
		  "%u leases: not enough memory; give fewer, each takes 64 bytes",
		  options->lease_count);
	return -ENOMEM;
}

void lease_pool_destroy(struct lease_pool *pool)
{
	if (!pool)
		return;
	/* ENOMEM, if the kernel merged the mapping with others: then it stays until exit */
	(void)munmap(pool->buckets, pool->bucket_count * sizeof(*pool->buckets));
	free(pool);
}

/* Choosing ------------------------------------------------------------------------------------- */

/* A bucket as it was seen, and where the new lease goes. */
struct plan {
	bool visible[LEASE_BUCKET_LEASES];
	struct lease_view seen[LEASE_BUCKET_LEASES];
	unsigned index; /* slot of the new lease */
	uint32_t address;
};

static bool is_idle(const struct plan *plan, unsigned index)
{
	uint64_t word = plan->seen[index].word;

	return plan->visible[index] && lease_stage_of(word) == LEASE_GRANTED &&
	       !lease_references_of(word);
}

/* The least recently used of two slots. `best` may be LEASE_BUCKET_LEASES for "none". */
static unsigned older_of(const struct plan *plan, unsigned best, unsigned index)
{
	if (best == LEASE_BUCKET_LEASES || plan->seen[index].used_s < plan->seen[best].used_s)
		return index;
	return best;
}

static unsigned find_holder(const struct plan *plan, uint32_t address)
{
	unsigned i = 0;

	while (i < LEASE_BUCKET_LEASES && !(plan->visible[i] && plan->seen[i].address == address))
		i++;
	return i;
}

/*
 * The slot for a new lease of `address`: the first empty slot after its home, or else the slot of
 * the least recently used idle lease. LEASE_BUCKET_LEASES if there is none.
 */
static unsigned find_slot(const struct plan *plan, uint32_t address)
{
	unsigned best = LEASE_BUCKET_LEASES;

	for (unsigned i = 0; i < LEASE_BUCKET_LEASES; i++) {
		unsigned at = (home_of(address) + i) % LEASE_BUCKET_LEASES;

		if (lease_stage_of(plan->seen[at].word) == LEASE_EMPTY)
			return at;
	}
	for (unsigned i = 0; i < LEASE_BUCKET_LEASES; i++)
		if (is_idle(plan, i))
			best = older_of(plan, best, i);
	return best;
}

static void look_at_bucket(const struct lease_bucket *bucket, struct plan *plan)
{
	for (unsigned i = 0; i < LEASE_BUCKET_LEASES; i++)
		plan->visible[i] = lease_look(&bucket->leases[i], &plan->seen[i]);
}

/*
 * Chooses address and slot: the first candidate without a lease, or else the candidate with the
 * least recently used idle lease. Returns false if there is none.
 */
static bool choose(const struct request *request, struct plan *plan)
{
	struct lease_draw draw = request->draw;
	uint32_t address = draw.first;

	plan->index = LEASE_BUCKET_LEASES;
	look_at_bucket(request->bucket, plan);
	do {
		unsigned holder = find_holder(plan, address);

		if (holder == LEASE_BUCKET_LEASES) {
			plan->address = address;
			plan->index = find_slot(plan, address);
			break;
		}
		if (is_idle(plan, holder) && older_of(plan, plan->index, holder) == holder) {
			plan->index = holder;
			plan->address = address;
		}
	} while (lease_draw_next(&draw, &address));
	return plan->index < LEASE_BUCKET_LEASES;
}

/* Acquiring ------------------------------------------------------------------------------------ */

/* Settles a proposal of this or another thread; see lease_bucket_settle(). */
static void settle(struct lease_pool *pool, struct lease_bucket *bucket, unsigned index,
		   const struct lease_view *view)
{
	if (!lease_bucket_settle(bucket, index, view))
		return;
	atomic_fetch_add_explicit(&pool->counters.in_use, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&pool->counters.live, 1, memory_order_relaxed);
}

/* Makes the planned lease, with a reference. Returns false if another thread was faster. */
static bool make_lease(struct lease_pool *pool, const struct request *request,
		       const struct plan *plan)
{
	struct lease *lease = &request->bucket->leases[plan->index];
	uint64_t before = plan->seen[plan->index].word;
	struct lease_view view = {.prefix = request->draw.hashed.prefix,
				  .address = plan->address,
				  .used_s = request->now_s};

	if (!lease_claim(lease, before))
		return false;
	if (lease_stage_of(before) == LEASE_GRANTED) {
		atomic_fetch_sub_explicit(&pool->counters.in_use, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&pool->counters.evictions, 1, memory_order_relaxed);
	}
	lease_propose(lease, &view);
	settle(pool, request->bucket, plan->index, &view);
	return lease_is_granted(lease, view.word);
}

/* Finds the lease, or the proposal of a lease, of the client. */
static bool find_prefix(const struct request *request, unsigned *index, struct lease_view *view)
{
	unsigned home = home_of(request->draw.first);

	for (unsigned i = 0; i < LEASE_BUCKET_LEASES; i++) {
		*index = (home + i) % LEASE_BUCKET_LEASES;
		if (lease_look(&request->bucket->leases[*index], view) &&
		    !memcmp(&view->prefix, &request->draw.hashed.prefix, sizeof(view->prefix)))
			return true;
	}
	return false;
}

/* lease_join() with the count of live leases. */
static int join(struct lease_pool *pool, struct lease *lease, const struct lease_view *view)
{
	int references = lease_join(lease, view->word);

	if (!references)
		atomic_fetch_add_explicit(&pool->counters.live, 1, memory_order_relaxed);
	return references;
}

/* Returns -EAGAIN if another thread was faster: try again. */
static int try_acquire(struct lease_pool *pool, const struct request *request, uint32_t *address)
{
	struct lease_view view;
	struct plan plan;
	unsigned index;
	int references;

	if (!find_prefix(request, &index, &view)) {
		if (!choose(request, &plan))
			return -EADDRNOTAVAIL;
		if (!make_lease(pool, request, &plan))
			return -EAGAIN;
		if (plan.address != request->draw.first)
			atomic_fetch_add_explicit(&pool->counters.collisions, 1,
						  memory_order_relaxed);
		*address = plan.address;
		return 0;
	}
	if (lease_stage_of(view.word) == LEASE_PROPOSED) {
		settle(pool, request->bucket, index, &view);
		return -EAGAIN;
	}
	references = join(pool, &request->bucket->leases[index], &view);
	if (references < 0)
		return references;
	lease_touch(&request->bucket->leases[index], request->now_s);
	*address = view.address;
	return 0;
}

int lease_pool_acquire(struct lease_pool *pool, const struct in6_addr *client, uint64_t now_ms,
		       struct in_addr *address)
{
	struct in6_addr prefix = client_of(pool, client).network;
	struct request request;
	int result = -EADDRNOTAVAIL;
	uint32_t found;

	if (begin_request(pool, &prefix, to_seconds(now_ms), &request)) {
		result = -EAGAIN;
		for (unsigned i = 0; i < ATTEMPT_LIMIT && result == -EAGAIN; i++)
			result = try_acquire(pool, &request, &found);
	}
	if (result) {
		atomic_fetch_add_explicit(&pool->counters.exhausted, 1, memory_order_relaxed);
		return -EADDRNOTAVAIL;
	}
	*address = to_network(found);
	return 0;
}

/* The granted lease of an address, or NULL. */
static struct lease *find_address(const struct lease_pool *pool, uint32_t address,
				  struct lease_view *view)
{
	struct lease_bucket *bucket;

	if (!lease_block_is_usable(&pool->block, address))
		return NULL;
	bucket = bucket_of(pool, address);
	for (unsigned i = 0; i < LEASE_BUCKET_LEASES; i++) {
		unsigned at = (home_of(address) + i) % LEASE_BUCKET_LEASES;

		if (lease_look(&bucket->leases[at], view) && view->address == address &&
		    lease_stage_of(view->word) == LEASE_GRANTED)
			return &bucket->leases[at];
	}
	return NULL;
}

static void leave(struct lease_pool *pool, struct lease *lease, int32_t now_s)
{
	lease_touch(lease, now_s);
	if (!lease_leave(lease))
		atomic_fetch_sub_explicit(&pool->counters.live, 1, memory_order_relaxed);
}

void lease_pool_release(struct lease_pool *pool, struct in_addr address, uint64_t now_ms)
{
	struct lease_view view;
	struct lease *lease = find_address(pool, ntohl(address.s_addr), &view);

	CHECK(lease);
	leave(pool, lease, to_seconds(now_ms));
}

/* Looking -------------------------------------------------------------------------------------- */

bool lease_pool_find(const struct lease_pool *pool, struct in_addr address, struct cidr *client)
{
	struct lease_view view;

	if (!find_address(pool, ntohl(address.s_addr), &view))
		return false;
	*client = client_of(pool, &view.prefix);
	return true;
}

/* For the state file --------------------------------------------------------------------------- */

static bool is_candidate(const struct request *request, uint32_t wanted)
{
	struct lease_draw draw = request->draw;
	uint32_t address = draw.first;

	while (address != wanted)
		if (!lease_draw_next(&draw, &address))
			return false;
	return true;
}

/*
 * Makes a lease of the request's client and the address, with a reference, used when the request
 * says. Returns NULL if all slots have live leases, or leases used later. For a client and an
 * address without a lease, while no other thread uses the pool.
 */
static struct lease *place(struct lease_pool *pool, const struct request *request, uint32_t address)
{
	struct plan plan;
	uint64_t before;
	bool made;

	look_at_bucket(request->bucket, &plan);
	plan.address = address;
	plan.index = find_slot(&plan, address);
	if (plan.index == LEASE_BUCKET_LEASES)
		return NULL;
	before = plan.seen[plan.index].word;
	if (lease_stage_of(before) != LEASE_EMPTY && plan.seen[plan.index].used_s > request->now_s)
		return NULL;
	made = make_lease(pool, request, &plan);
	CHECK(made);
	return &request->bucket->leases[plan.index];
}

const char *lease_pool_restore(struct lease_pool *pool, const struct lease_record *record)
{
	uint32_t address = ntohl(record->address.s_addr);
	struct cidr client = client_of(pool, &record->client.network);
	struct request request;
	struct lease_view view;
	struct lease *lease;
	unsigned index;

	if (!lease_block_is_usable(&pool->block, address))
		return "the address is not one of the block that clients are given; remove the "
		       "line";
	if (client.bits != record->client.bits)
		return "the client's prefix is not as long as the file says; remove the line";
	if (!begin_request(pool, &client.network, record->used_s, &request) ||
	    !is_candidate(&request, address))
		return "the key does not give this client this address; remove the line";
	if (find_prefix(&request, &index, &view))
		return "the client has a line already; remove one of the two";
	if (find_address(pool, address, &view))
		return "the address has a line already; remove one of the two";
	lease = place(pool, &request, address);
	if (lease)
		leave(pool, lease, record->used_s);
	return NULL;
}

/* Takeover ------------------------------------------------------------------------------------- */

void lease_pool_reset(struct lease_pool *pool, const uint8_t key[SIPHASH_KEY_BYTES])
{
	int result =
		madvise(pool->buckets, pool->bucket_count * sizeof(*pool->buckets), MADV_DONTNEED);

	CHECK(!result); /* private anonymous memory reads as zeros from now on */
	CHECK(!atomic_load(&pool->counters.live));
	atomic_store(&pool->counters.in_use, 0);
	memcpy(pool->block.key, key, SIPHASH_KEY_BYTES);
}

/* Ends a lease without sessions. False: it has sessions. */
static bool end_idle(struct lease_pool *pool, struct lease *lease, const struct lease_view *view)
{
	if (!lease_drop(lease, view->word))
		return false;
	atomic_fetch_sub_explicit(&pool->counters.in_use, 1, memory_order_relaxed);
	return true;
}

/* The lease of the request's client and of this address, with a reference; or NULL. */
static struct lease *find_or_place(struct lease_pool *pool, const struct request *request,
				   uint32_t address)
{
	struct lease_view view;
	struct lease *lease;
	unsigned index;

	if (find_prefix(request, &index, &view)) {
		lease = &request->bucket->leases[index];
		if (view.address == address) {
			join(pool, lease, &view);
			lease_touch(lease, MAX(view.used_s, request->now_s));
			return lease;
		}
		if (!end_idle(pool, lease, &view))
			return NULL;
	}
	lease = find_address(pool, address, &view);
	if (lease && !end_idle(pool, lease, &view))
		return NULL;
	return place(pool, request, address);
}

bool lease_pool_adopt(struct lease_pool *pool, const struct lease_record *record, bool live)
{
	uint32_t address = ntohl(record->address.s_addr);
	struct cidr client = client_of(pool, &record->client.network);
	struct request request;
	struct lease *lease;

	if (!lease_block_is_usable(&pool->block, address) ||
	    !begin_request(pool, &client.network, record->used_s, &request) ||
	    !is_candidate(&request, address))
		return false;
	lease = find_or_place(pool, &request, address);
	if (lease && !live && !lease_leave(lease))
		atomic_fetch_sub_explicit(&pool->counters.live, 1, memory_order_relaxed);
	return lease;
}
