/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * no_tls.c - replaces TLS in a build without it: credentials are refused, so that a migration
 * that needs them fails before it connects.
 */
#include "channel/tls.h"

static int refuse(struct swo_error *err)
{
	return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
		"this build has no TLS (-Dtls=false); unset tls-creds to migrate without it");
}

int channel_tls_creds_load(const struct swo_tls_params *params, bool server,
	struct channel_tls_creds **out, struct swo_error *err)
{
	(void)params, (void)server;
	*out = NULL;
	return refuse(err);
}

void channel_tls_creds_free(struct channel_tls_creds *creds)
{
	(void)creds;
}

int channel_tls_start(int fd, const struct channel_tls_creds *creds, const char *peer,
	const char *host, swo_deadline deadline, struct channel_tls **out, struct swo_error *err)
{
	(void)fd, (void)creds, (void)peer, (void)host, (void)deadline;
	*out = NULL;
	return refuse(err);
}

int channel_tls_transfer(struct channel_tls *tls, struct iovec *iov, unsigned count,
	uint64_t stall_ms, bool sending, const struct channel_limit *limit, struct swo_error *err)
{
	(void)tls, (void)iov, (void)count, (void)stall_ms, (void)sending, (void)limit;
	return refuse(err);
}

bool channel_tls_owes_data(struct channel_tls *tls)
{
	(void)tls;
	return false;
}

bool channel_tls_holds_data(struct channel_tls *tls)
{
	(void)tls;
	return false;
}

void channel_tls_close_notify(struct channel_tls *tls)
{
	(void)tls;
}

void channel_tls_free(struct channel_tls *tls)
{
	(void)tls;
}
