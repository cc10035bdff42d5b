/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * text.h - numbers and words of profiles and faults, without a C library.
 */
#ifndef SIMVF_PROFILES_TEXT_H
#define SIMVF_PROFILES_TEXT_H

#include "profile.h"

/* A decimal number that fits; *text is advanced past it. */
bool svf_text_number(const char **text, uint64_t *out);
bool svf_text_is(const char *text, size_t len, const char *word);
bool svf_text_equal(const char *a, const char *b);

#endif
