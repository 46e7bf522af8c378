/* SPDX-License-Identifier: MIT */
/* The tables in src/ for the manual (troff, man(7)) and for the pages in docs/ (markdown). */
#pragma once

#include <stdbool.h>

/* Each prints the table of that name ("@OPTIONS@") to stdout. False: there is no such table. */
bool page_print_markdown(const char *table);
bool page_print_man(const char *table);
