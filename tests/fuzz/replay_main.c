/* SPDX-License-Identifier: MIT */
/*
 * usage: fuzz_NAME [FILE|DIRECTORY]...
 * Gives a fuzz harness, which is linked to this, the files named and then pseudo-random inputs, the
 * same ones every time. So the harnesses run as ordinary tests, with gcc and any sanitizer.
 * scripts/fuzz links them to libFuzzer instead, which looks for inputs that reach new code.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define RUNS	    20000
#define INPUT_LIMIT 4096
#define SAMPLES	    256

struct sample {
	uint8_t *bytes;
	size_t count;
};

/* What was read from files: where half of the pseudo-random inputs begin. */
static struct sample samples[SAMPLES];
static unsigned sample_count;

static uint64_t random_next(uint64_t *state)
{
	uint64_t mixed = *state += 0x9e3779b97f4a7c15ULL; /* splitmix64 */

	mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9ULL;
	mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebULL;
	return mixed ^ mixed >> 31;
}

/* Exactly as large as it says, so that a sanitizer sees a read beyond the end. */
static void give(const uint8_t *bytes, size_t count)
{
	uint8_t *copy = malloc(count ? count : 1);

	if (!copy)
		abort();
	if (count)
		memcpy(copy, bytes, count);
	LLVMFuzzerTestOneInput(copy, count);
	free(copy);
}

static int give_file(const char *path)
{
	uint8_t *bytes = malloc(INPUT_LIMIT);
	FILE *file = fopen(path, "rb");
	size_t count;

	if (!file || !bytes) {
		perror(path);
		free(bytes);
		return EXIT_FAILURE;
	}
	count = fread(bytes, 1, INPUT_LIMIT, file);
	fclose(file);
	give(bytes, count);
	if (sample_count < SAMPLES)
		samples[sample_count++] = (struct sample){bytes, count};
	else
		free(bytes);
	return EXIT_SUCCESS;
}

static int give_path(const char *path)
{
	DIR *directory = opendir(path);
	const struct dirent *entry;
	int result = EXIT_SUCCESS;

	if (!directory)
		return give_file(path);
	while ((entry = readdir(directory)) && !result) {
		char inside[4096];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(inside, sizeof(inside), "%s/%s", path, entry->d_name);
		result = give_file(inside);
	}
	closedir(directory);
	return result;
}

/* Changes a few bytes, most of them to others that mean something to somebody. */
static void mutate(uint8_t *bytes, size_t *count, uint64_t *state)
{
	static const char telling[] = "0123456789abcdef:.[]%-=,/ \n\0KMGhmsd";

	for (unsigned changes = 1 + random_next(state) % 8; changes; changes--) {
		uint64_t random = random_next(state);
		size_t at = *count ? random % *count : 0;
		uint8_t byte = random & 1 << 20
				       ? (uint8_t)(random >> 32)
				       : (uint8_t)telling[(random >> 32) % sizeof(telling)];

		if (random >> 60 < 4 && *count) { /* take one out */
			memmove(bytes + at, bytes + at + 1, --*count - at);
		} else if (random >> 60 < 8 && *count < INPUT_LIMIT) { /* put one in */
			memmove(bytes + at + 1, bytes + at, (*count)++ - at);
			bytes[at] = byte;
		} else if (*count) {
			bytes[at] = byte;
		}
	}
}

static void give_random(uint64_t *state)
{
	uint8_t bytes[INPUT_LIMIT];
	uint64_t random = random_next(state);
	size_t count = 0;

	if (sample_count && random & 1) {
		const struct sample *sample = &samples[(random >> 1) % sample_count];

		count = sample->count;
		memcpy(bytes, sample->bytes, count);
	} else {
		/* mostly short ones */
		count = (random >> 8) % (random & 2 ? 32 : INPUT_LIMIT);
		for (size_t i = 0; i < count; i++)
			bytes[i] = (uint8_t)(random_next(state) >> 24);
	}
	mutate(bytes, &count, state);
	give(bytes, count);
}

int main(int argc, char **argv)
{
	uint64_t state = 6;

	for (int i = 1; i < argc; i++)
		if (give_path(argv[i]))
			return EXIT_FAILURE;
	for (unsigned run = 0; run < RUNS; run++)
		give_random(&state);
	while (sample_count)
		free(samples[--sample_count].bytes);
	return EXIT_SUCCESS;
}
