/* SPDX-License-Identifier: MIT */
/* What test_client_limits.c and test_client_limits_threads.c share: clients named by a number. */
#pragma once

#include "limits/client_limits.h"

/* Limits for clients by /64 and /32, of so many connections (0: any) and new ones per second. */
struct client_limits *fixture_limits(uint32_t maxconn, uint32_t rate, uint32_t clients);

/* client_limits_enter() for client `number`, from one of its addresses. */
enum client_verdict fixture_enter(struct client_limits *limits, uint64_t number, uint64_t now_ms,
				  client_ticket *ticket);

/* client_limits_live() of client `number`. */
uint32_t fixture_live(const struct client_limits *limits, uint64_t number);
