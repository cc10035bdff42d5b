/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uri.c - parses "unix:PATH", "tcp:HOST:PORT" and "tcp:[V6]:PORT".
 */
#include "base/uri.h"

#include "base/number.h"

#include <string.h>

static int parse_unix(
	const char *text, const char *path, struct base_uri *out, struct swo_error *err)
{
	size_t len = strlen(path);

	if (!len)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"'%s': missing path; expected unix:/path/to/socket", text);
	if (len >= sizeof(out->path))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"the socket path in '%s' is longer than the %zu bytes a UNIX socket can "
			"have",
			text, sizeof(out->path) - 1);
	out->is_unix = true;
	memcpy(out->path, path, len + 1);
	return 0;
}

static int parse_tcp(
	const char *text, const char *rest, struct base_uri *out, struct swo_error *err)
{
	const char *colon = strrchr(rest, ':');
	const char *host = rest;

	if (!colon || !colon[1])
		return swo_error_set(
			err, SWO_E_INVALID, 0, "'%s': missing port; expected tcp:HOST:PORT", text);
	size_t len = (size_t)(colon - host);
	if (len && host[0] == '[') {
		if (host[len - 1] != ']')
			return swo_error_set(err, SWO_E_INVALID, 0,
				"'%s': missing ']'; expected tcp:[ADDRESS]:PORT", text);
		host++;
		len -= 2;
	} else if (memchr(host, ':', len)) {
		return swo_error_set(err, SWO_E_INVALID, 0,
			"'%s': IPv6 address without brackets; expected tcp:[ADDRESS]:PORT", text);
	}
	if (len >= sizeof(out->host))
		return swo_error_set(
			err, SWO_E_INVALID, 0, "the host name in '%s' is too long", text);

	const char *end = colon + 1;
	uint64_t port;

	if (base_digits(&end, 10, &port) || *end || strlen(colon + 1) >= sizeof(out->port) ||
		port > 65535)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"invalid port '%s' in '%s': expected 0 to 65535", colon + 1, text);
	memcpy(out->host, host, len);
	strcpy(out->port, colon + 1);
	return 0;
}

int base_uri_parse(const char *text, struct base_uri *out, struct swo_error *err)
{
	memset(out, 0, sizeof(*out));
	if (!strncmp(text, "unix:", 5))
		return parse_unix(text, text + 5, out, err);
	if (!strncmp(text, "tcp:", 4))
		return parse_tcp(text, text + 4, out, err);
	return swo_error_set(err, SWO_E_INVALID, 0,
		"invalid URI '%.100s': expected unix:PATH or tcp:HOST:PORT", text);
}
