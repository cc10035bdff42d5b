/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tls_args.c - options about TLS: to parameters of the library, or of a monitor.
 */
#include "cmd/common/tls_args.h"

#include "base/number.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum {
	OPT_CREDS = 0x7400,
	OPT_KIND,
	OPT_HOSTNAME,
	OPT_AUTHZ,
	OPT_USERNAME,
	OPT_INSECURE,
	OPT_PEER_UID
};

static const char *const kinds[] = {"auto", "x509", "psk"};

static const struct argp_option options[] = {
	{"tls-creds", OPT_CREDS, "DIR", 0,
		"Encrypt migrations; DIR has the files of QEMU's tls-creds-x509 or tls-creds-psk (none)",
		0},
	{"tls-kind", OPT_KIND, "KIND", 0, "Use x509, psk, or auto: by the files (auto)", 0},
	{"tls-hostname", OPT_HOSTNAME, "NAME", 0,
		"Expect NAME in the target's certificate (the URI's host)", 0},
	{"tls-authz", OPT_AUTHZ, "NAME", 0,
		"On a target: accept only this distinguished name or PSK user name (any)", 0},
	{"tls-username", OPT_USERNAME, "NAME", 0,
		"On a source: use this line of keys.psk (the only one)", 0},
	{"insecure", OPT_INSECURE, NULL, 0,
		"Allow an unencrypted migration over TCP to another host, on a trusted network", 0},
	{"peer-uid", OPT_PEER_UID, "UID", 0,
		"UNIX sockets: accept another user's process at the other end, besides this "
		"user's and root's",
		0},
	{0},
};

static void take(
	struct argp_state *state, const char *name, const char *text, char *out, size_t size)
{
	size_t len = strlen(text);

	if (len >= size)
		argp_error(state, "--%s: longer than %zu characters", name, size - 1);
	memcpy(out, text, len < size ? len + 1 : 0);
}

static enum swo_tls_kind take_kind(struct argp_state *state, const char *text)
{
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(kinds); i++)
		if (!strcmp(kinds[i], text))
			return (enum swo_tls_kind)i;
	argp_error(state, "--tls-kind: expected auto, x509 or psk, got '%s'", text);
	return SWO_TLS_AUTO;
}

static void take_uid(const struct argp_state *state, const char *text)
{
	struct swo_error err = {0};
	uint64_t uid;

	/* The last one means "none". */
	if (base_number("--peer-uid", text, 0, (uid_t)-2, &uid, &err))
		argp_error(state, "%s", err.text);
	swo_peer_uid_allow((uid_t)uid);
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct tls_args *args = state->input;
	struct swo_tls_params *tls = &args->tls;

	switch (key) {
	case OPT_CREDS:
		take(state, "tls-creds", arg, tls->creds, sizeof(tls->creds));
		return 0;
	case OPT_KIND:
		tls->kind = take_kind(state, arg);
		return 0;
	case OPT_HOSTNAME:
		take(state, "tls-hostname", arg, tls->hostname, sizeof(tls->hostname));
		return 0;
	case OPT_AUTHZ:
		take(state, "tls-authz", arg, tls->authz, sizeof(tls->authz));
		return 0;
	case OPT_USERNAME:
		take(state, "tls-username", arg, tls->username, sizeof(tls->username));
		return 0;
	case OPT_INSECURE:
		args->insecure = true;
		return 0;
	case OPT_PEER_UID:
		take_uid(state, arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

const struct argp tls_argp = {.options = options, .parser = parse_option};

static int add(json_t *parameters, const char *name, const char *value)
{
	return value[0] ? json_object_set_new(parameters, name, json_string(value)) : 0;
}

int tls_args_to_parameters(const struct tls_args *args, json_t *parameters)
{
	const struct swo_tls_params *tls = &args->tls;
	char path[PATH_MAX];
	/* The machine has a directory of its own. To QEMU it is the name of an object, no path. */
	const char *creds = tls->creds[0] && realpath(tls->creds, path) ? path : tls->creds;

	return add(parameters, "tls-creds", creds) ||
			       add(parameters, "tls-hostname", tls->hostname) ||
			       add(parameters, "tls-authz", tls->authz) ||
			       add(parameters, "x-tls-username", tls->username) ||
			       (tls->kind && add(parameters, "x-tls-kind", kinds[tls->kind])) ||
			       (args->insecure &&
				       json_object_set_new(parameters, "x-insecure", json_true()))
		       ? -1
		       : 0;
}
