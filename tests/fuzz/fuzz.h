/* SPDX-License-Identifier: MIT */
/* What a fuzz harness provides: libFuzzer's interface, which replay_main.c calls too. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Runs the code under test on one input; aborts, or trips a sanitizer, when it finds a fault. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

/* The input as a string, up to its first NUL; the caller frees it. */
char *fuzz_text(const uint8_t *bytes, size_t count);
