/* SPDX-License-Identifier: MIT */
#include "stats/close_reason.h"

#include "base/check.h"
#include "os/sock.h"

static const struct close_rule rules[CLOSE_REASON_COUNT] = {
#define CLOSE_REASON(word, side, how, meaning, remedy) {#word, CLOSE_SIDE_##side, CLOSE_HOW_##how},
#include "stats/close_reasons.def"
#undef CLOSE_REASON
};

const struct close_rule *close_reason_rule(enum close_reason reason)
{
	CHECK((unsigned)reason < CLOSE_REASON_COUNT);
	return &rules[reason];
}

enum close_reason close_reason_of_error(unsigned side, int error)
{
	CHECK(side < 2);
	switch (sock_classify(error)) {
	case SOCK_RESET:
		return side ? CLOSE_backend_reset : CLOSE_client_reset;
	case SOCK_LOST:
		return side ? CLOSE_backend_lost : CLOSE_client_lost;
	default:
		return side ? CLOSE_backend_error : CLOSE_client_error;
	}
}
