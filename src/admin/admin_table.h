/* SPDX-License-Identifier: MIT */
/*
 * Rows of an answer: as text, a line of headings and a line for each row, in aligned columns that
 * two blanks or more divide; as JSON, an array of objects. A key is the heading in lower case. An
 * empty text is "-", and null in JSON. In the text, blanks within a value become '_', so that awk
 * finds the columns.
 */
#pragma once

#include <stdint.h>
#include <stdio.h>

#include "admin/admin_text.h"

#define ADMIN_TABLE_COLUMNS 12

struct admin_table {
	const struct admin_text *text;
	const char *const *keys; /* static */
	unsigned columns;
	unsigned column; /* of the next cell */
	unsigned rows;
	unsigned widths[ADMIN_TABLE_COLUMNS];
	FILE *cells; /* text: the cells, each with a tab or newline; NULL without memory */
	char *bytes;
	size_t size;
};

/* Begins a table with `columns` keys; admin_table_end() prints it and frees its memory. */
void admin_table_begin(struct admin_table *table, const struct admin_text *text,
		       const char *const *keys, unsigned columns);

/* Add the next cell. After the last column a new row begins. */
void admin_table_text(struct admin_table *table, const char *value);
void admin_table_number(struct admin_table *table, uint64_t value);
void admin_table_addr(struct admin_table *table, const struct addr *value);

void admin_table_end(struct admin_table *table);
