/* SPDX-License-Identifier: MIT */
/* The forwards of a test's configuration, with all that sessions hold of them. */
#pragma once

#include "forward/forward.h"

/* For `maxconn` sessions; forwards_destroy() takes them. A failure fails the test. */
struct forwards *fixture_forwards(const struct config *config, uint32_t maxconn);
