/* SPDX-License-Identifier: MIT */
/* What the tests of *_carry share: the two ends of a carrier, in one process. */
#pragma once

#include "os/carrier.h"

struct carry {
	struct carrier *out, *in;
};

/* Both ends give up after SUPPORT_PATIENCE_MS. */
void fixture_carry_open(struct carry *carry);
void fixture_carry_close(struct carry *carry);

/* Sends what was written, which must be little: nobody reads meanwhile. */
void fixture_carry_flush(struct carry *carry);

/* Goes to the next record. False: all records were read. */
bool fixture_carry_next(struct carry *carry, enum carrier_kind *kind);

/* Goes to the next record, which must be of this kind. */
void fixture_carry_expect(struct carry *carry, enum carrier_kind expected);
