/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * number.h - numbers in text: digits, no trailing text, and within bounds.
 */
#ifndef BASE_NUMBER_H
#define BASE_NUMBER_H

#include "switchover/base.h"

/* Reads digits of radix 10 or 16 at *at and moves it past them. -1: none, or above 2^64 - 1. */
int base_digits(const char **at, unsigned radix, uint64_t *out);

/*
 * `text` must be a number from min to max, without other text. Otherwise SWO_E_INVALID; its
 * text begins with `what`, the option or field.
 */
int base_number(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *out,
	struct swo_error *err);
/*
 * In bytes, with one of K, M, G and T (powers of 1024) after the digits, or none; with a unit also up
 * to nine digits after a point, rounded down: 1.5G.
 */
int base_size(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *out,
	struct swo_error *err);
/* May have a fraction and an exponent; neither infinite nor NaN. */
int base_real(const char *what, const char *text, double min, double max, double *out,
	struct swo_error *err);

#endif
