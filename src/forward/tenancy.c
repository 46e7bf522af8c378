/* SPDX-License-Identifier: MIT */
#include "forward/tenancy.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "forward/forward_carry.h"
#include "forward/source_address_carry.h"
#include "forward/upstream_carry.h"
#include "os/timer.h"

bool tenancy_begin(struct tenancy *tenancy, struct forward *forward)
{
	memset(tenancy, 0, sizeof(*tenancy));
	if (!admission_count_session(forward->admission))
		return false;
	tenancy_resume(tenancy, forward);
	return true;
}

void tenancy_resume(struct tenancy *tenancy, struct forward *forward)
{
	CHECK(!tenancy->counted);
	tenancy->forward = forward;
	tenancy->ticket = CLIENT_UNCOUNTED;
	tenancy->counted = true;
}

enum admission_verdict tenancy_enter(struct tenancy *tenancy, const struct addr *client,
				     uint64_t now_ms)
{
	CHECK(tenancy->counted && tenancy->ticket == CLIENT_UNCOUNTED);
	return admission_enter(tenancy->forward->admission, client, now_ms, &tenancy->ticket);
}

int tenancy_choose_source(struct tenancy *tenancy, const struct addr *client, bool embedded,
			  uint64_t now_ms)
{
	const struct source_address_ask ask = {
		.client = client, .embedded = embedded, .now_ms = now_ms};
	struct source_address_choice choice;
	int error;

	CHECK(tenancy->counted && !tenancy->leased);
	error = source_address_choose(tenancy->forward->source, &ask, &choice);
	if (error)
		return error;
	tenancy->source = choice.address;
	tenancy->leased = choice.leased;
	tenancy->embedded = choice.embedded;
	return 0;
}

void tenancy_restore_source(struct tenancy *tenancy)
{
	enum config_source_kind kind = tenancy->forward->config->options.source.kind;

	if (tenancy->leased || tenancy->embedded || kind == CONFIG_SOURCE_ADDRESS)
		addr_set_port(&tenancy->source, 0);
	else
		tenancy->source = (struct addr){0};
}

int tenancy_choose_backend(struct tenancy *tenancy, struct pool_tried *tried,
			   const struct addr *client, uint64_t now_ms)
{
	CHECK(tenancy->counted);
	return upstream_choose(tenancy->forward->upstream, &tenancy->claim,
			       &(struct upstream_ask){tried, client, now_ms});
}

const struct addr *tenancy_backend_address(const struct tenancy *tenancy)
{
	return upstream_address(tenancy->forward->upstream, &tenancy->claim);
}

const struct config_backend *tenancy_backend(const struct tenancy *tenancy)
{
	return upstream_backend(tenancy->forward->upstream, &tenancy->claim);
}

bool tenancy_must_end(const struct tenancy *tenancy, enum close_reason *reason)
{
	const struct forward *forward = tenancy->forward;

	if (atomic_load_explicit(&forward->drain, memory_order_relaxed) == FORWARD_EXPIRED) {
		*reason = CLOSE_drain_timeout;
		return true;
	}
	*reason = CLOSE_backend_down;
	return forward->config->options.on_down == CONFIG_ON_DOWN_RESET &&
	       upstream_is_out(forward->upstream, &tenancy->claim);
}

void tenancy_end(struct tenancy *tenancy, uint64_t now_ms)
{
	struct forward *forward = tenancy->forward;

	if (!tenancy->counted)
		return;
	upstream_leave(forward->upstream, &tenancy->claim);
	if (tenancy->leased)
		source_address_release(forward->source, &tenancy->source, now_ms);
	admission_leave(forward->admission, tenancy->ticket);
	admission_uncount_session(forward->admission);
	tenancy->leased = false;
	tenancy->ticket = CLIENT_UNCOUNTED;
	tenancy->counted = false;
}

/* Takeover ------------------------------------------------------------------------------------- */

void tenancy_write(const struct tenancy *tenancy, struct carrier *carrier)
{
	/* without --per-source there is no ticket; but who has chosen a backend was admitted */
	bool admitted =
		tenancy->ticket != CLIENT_UNCOUNTED || tenancy->claim.stage != UPSTREAM_NOWHERE;

	CHECK(tenancy->counted);
	carrier_put_text(carrier, tenancy->forward->config->name);
	carrier_put(carrier, admitted);
	carrier_put_addr(carrier, &tenancy->source);
	carrier_put(carrier, tenancy->leased);
	carrier_put(carrier, tenancy->embedded);
	upstream_write_claim(&tenancy->claim, carrier);
}

int tenancy_read(struct tenancy *tenancy, struct forwards *forwards, const struct addr *client,
		 struct carrier *carrier)
{
	struct forward *forward = forwards_take_name(forwards, carrier);
	uint64_t now_ms = timer_now_ms();
	struct sockaddr_un unused;
	bool admitted, leased;
	int result;

	memset(tenancy, 0, sizeof(*tenancy));
	if (!forward)
		return carrier_is_whole(carrier) ? -ENOENT : -EBADMSG;
	admission_resume_session(forward->admission);
	tenancy_resume(tenancy, forward);
	admitted = carrier_take(carrier) != 0;
	carrier_take_addr(carrier, &tenancy->source, &unused);
	leased = carrier_take(carrier) != 0;
	tenancy->embedded = carrier_take(carrier) != 0;
	result = upstream_read_claim(forward->upstream, &tenancy->claim, carrier);
	/* our end of a local connection has no name */
	if (addr_is_local(&tenancy->source))
		tenancy->source.local.name = NULL;
	if (!result && admitted)
		admission_resume(forward->admission, client, now_ms, &tenancy->ticket);
	if (!result && leased)
		tenancy->leased =
			source_address_resume(forward->source, client, &tenancy->source, now_ms);
	if (result)
		tenancy_end(tenancy, now_ms);
	return result;
}
