/* SPDX-License-Identifier: MIT */
#include "admin/admin_table.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/json.h"

void admin_table_begin(struct admin_table *table, const struct admin_text *text,
		       const char *const *keys, unsigned columns)
{
	CHECK(columns <= ADMIN_TABLE_COLUMNS);
	*table = (struct admin_table){.text = text, .keys = keys, .columns = columns};
	if (text->json) {
		fputc('[', text->out);
		return;
	}
	table->cells = open_memstream(&table->bytes, &table->size);
	for (unsigned i = 0; i < columns; i++) {
		char heading[64];
		size_t at = 0;

		for (; keys[i][at] && at + 1 < sizeof(heading); at++)
			heading[at] = (char)toupper((unsigned char)keys[i][at]);
		heading[at] = '\0';
		admin_table_text(table, heading);
	}
}

/* Moves on to the next cell. */
static void advance(struct admin_table *table)
{
	bool is_last = ++table->column == table->columns;

	if (table->text->json)
		fputs(is_last ? "}" : "", table->text->out);
	else if (table->cells)
		fputc(is_last ? '\n' : '\t', table->cells);
	if (!is_last)
		return;
	table->column = 0;
	table->rows++;
}

static void print_key(const struct admin_table *table)
{
	const char *before = table->column ? "," : table->rows ? ",{" : "{";

	fprintf(table->text->out, "%s\"%s\":", before, table->keys[table->column]);
}

/* Adds a cell of the text. Its columns are counted in bytes: values have ASCII, but for reasons. */
static void add_cell(struct admin_table *table, const char *value)
{
	unsigned width = (unsigned)strlen(value);

	if (width > table->widths[table->column])
		table->widths[table->column] = width;
	for (; *value && table->cells; value++)
		fputc(isspace((unsigned char)*value) ? '_' : *value, table->cells);
}

void admin_table_text(struct admin_table *table, const char *value)
{
	bool is_empty = !value || !*value;

	if (!table->text->json) {
		add_cell(table, is_empty ? "-" : value);
	} else {
		print_key(table);
		if (is_empty)
			fputs("null", table->text->out);
		else
			json_print_string(table->text->out, value);
	}
	advance(table);
}

void admin_table_number(struct admin_table *table, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	if (!table->text->json) {
		add_cell(table, text);
	} else {
		print_key(table);
		fputs(text, table->text->out);
	}
	advance(table);
}

void admin_table_addr(struct admin_table *table, const struct addr *value)
{
	char text[ADDR_TEXT_BYTES];

	admin_table_text(table, value->length_bytes ? addr_print(value, text) : NULL);
}

/* Prints the cells, each as wide as its column; the last column needs no blanks behind it. */
static void print_cells(const struct admin_table *table)
{
	const char *at = table->bytes;

	for (unsigned column = 0; *at; column = (column + 1) % table->columns) {
		unsigned length = (unsigned)strcspn(at, "\t\n");
		unsigned blanks = at[length] == '\n' ? 0 : table->widths[column] - length + 2;

		fprintf(table->text->out, "%.*s%*s%s", (int)length, at, (int)blanks, "",
			at[length] == '\n' ? "\n" : "");
		at += length + 1;
	}
}

void admin_table_end(struct admin_table *table)
{
	CHECK(!table->column);
	if (table->text->json)
		fputc(']', table->text->out);
	else if (table->cells && !fclose(table->cells))
		print_cells(table);
	free(table->bytes);
}
