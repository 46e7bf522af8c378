/* SPDX-License-Identifier: MIT */
/* The options and the commands for the completions of shells; the templates are in completion/. */
#pragma once

#include <stdbool.h>

/* Each prints the part of that name ("@OPTIONS@") to stdout. False: there is no such part. */
bool complete_print_bash(const char *part);
bool complete_print_zsh(const char *part);
bool complete_print_fish(const char *part);
