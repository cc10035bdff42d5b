/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * args.h - what the verbs' options have in common: numbers and sizes.
 */
#ifndef CMD_COMMON_ARGS_H
#define CMD_COMMON_ARGS_H

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>

/* A whole number from min to max, or argp's error, which names the option. */
uint64_t args_number(
	struct argp_state *state, const char *name, const char *text, uint64_t min, uint64_t max);
/* Bytes, or a number with K, M, G or T. */
bool args_size_of(const char *text, uint64_t *out);

#endif
