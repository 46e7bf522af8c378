/* SPDX-License-Identifier: MIT */
#include "forward/tenancy.h"

#include <string.h>

#include "base/check.h"

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
