/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tls_args.h - the options about TLS, which `vm` and `migrate` share.
 */
#ifndef CMD_COMMON_TLS_ARGS_H
#define CMD_COMMON_TLS_ARGS_H

#include "switchover/tls.h"

#include <argp.h>
#include <jansson.h>

struct tls_args {
	struct swo_tls_params tls;
	bool insecure;
};

/* A child parser; its input is a struct tls_args. */
extern const struct argp tls_argp;

/* Those that were given, as migrate-set-parameters takes them. 0, or -1: no memory. */
int tls_args_to_parameters(const struct tls_args *args, json_t *parameters);

#endif
