/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * args.h - shared by the command lines of the verbs: options that are numbers, sizes or one of a
 * few words. Anything else is argp's error, which names the option.
 */
#ifndef CMD_COMMON_ARGS_H
#define CMD_COMMON_ARGS_H

#include <argp.h>
#include <stdint.h>

/* A whole number from min to max. */
uint64_t args_number(
	struct argp_state *state, const char *name, const char *text, uint64_t min, uint64_t max);
/* In bytes, as in 4096, 256M or 4G. */
uint64_t args_size(struct argp_state *state, const char *name, const char *text);
/* With a fraction or without. */
double args_real(
	struct argp_state *state, const char *name, const char *text, double min, double max);
/* The index of `text` among `words`, which end with NULL. */
unsigned args_word(
	struct argp_state *state, const char *name, const char *text, const char *const *words);

#endif
