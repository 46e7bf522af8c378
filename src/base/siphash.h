/* SPDX-License-Identifier: MIT */
/*
 * SipHash-2-4: a 64-bit hash under a secret key, for short inputs (Aumasson and Bernstein,
 * "SipHash: a fast short-input PRF", 2012). Without the key nobody can predict a hash or find
 * inputs that collide.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define SIPHASH_KEY_BYTES 16

/* The hash of `count` bytes. It does not depend on the byte order of the machine. */
uint64_t siphash24(const uint8_t key[SIPHASH_KEY_BYTES], const void *bytes, size_t count);
