/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * query.c - the query of a source in doubt.
 */
#include "migration/query.h"

#include "base/sized.h"
#include "journal/write.h"
#include "switchover/migration.h"

#include <stdio.h>
#include <string.h>

/* The interval at which a cancel is checked. */
#define LOOK_MS 50

static int answer_comes(const struct ask *ask, struct channel_conn *conn, struct swo_error *err)
{
	swo_deadline deadline = swo_deadline_ms(ask->deadline_ms);

	do {
		if (channel_conn_readable(
			    conn, swo_deadline_min(deadline, swo_deadline_ms(LOOK_MS))))
			return 0;
		if (ask->give_up && ask->give_up(ask->opaque))
			return swo_error_set(err, SWO_E_CANCELLED, 0, "the query was cancelled");
	} while (!swo_deadline_passed(deadline));
	return swo_error_set(
		err, SWO_E_TIMEOUT, 0, "timed out waiting for the target at '%.200s'", ask->uri);
}

static int take_answer(const struct ask *ask, struct channel *channel, char text[WIRE_TEXT_MAX + 1],
	struct swo_error *err)
{
	struct channel_frame_header header;

	if (channel_recv_header(channel, &header, WIRE_TEXT_MAX, 0, err) ||
		channel_recv_payload(channel, &header, text, header.length, NULL, 0, err))
		return -1;
	text[header.length] = 0;
	switch (header.type) {
	case WIRE_STARTED:
	case WIRE_STARTING:
	case WIRE_REFUSED:
		/* ASK does not have it: only the process that received HELLO does. */
		if (header.offset == ask->hello_nonce)
			return header.type;
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"the process at '%.150s' is not the target of this migration: its reply "
			"has another nonce than HELLO",
			ask->uri);
	default:
		return swo_error_set(err, SWO_E_STATE, 0,
			"the process at '%.150s' has no record of this migration: %.150s", ask->uri,
			header.type == WIRE_ABORT ? text : "malformed reply");
	}
}

int migration_ask(const struct ask *ask, char text[WIRE_TEXT_MAX + 1], struct swo_error *err)
{
	struct channel_frame_header header = {.type = WIRE_ASK};
	struct channel channel;
	struct channel_conn *conn;
	int answer = -1;

	if (channel_conn_attempt(ask->uri, ask->security, swo_deadline_ms(ask->deadline_ms),
		    ask->attempt, &conn, err))
		return -1;
	channel_init(&channel, conn, ask->deadline_ms);
	if (!channel_send(&channel, &header, &ask->ticket, sizeof(ask->ticket), err) &&
		!answer_comes(ask, conn, err))
		answer = take_answer(ask, &channel, text, err);
	header = (struct channel_frame_header){.type = WIRE_DONE};
	if (answer >= 0 && ask->take && ask->take(ask->opaque, (enum wire_type)answer, text))
		channel_send(&channel, &header, NULL, 0, NULL);
	channel_close(&channel);
	return answer;
}

static bool acknowledges(void *opaque, enum wire_type answer, const char *text)
{
	(void)text;
	return answer == WIRE_STARTED && *(const bool *)opaque;
}

static int check_query(const struct swo_migration_query *query, struct swo_error *err)
{
	if (!query->uri || !query->id)
		return swo_error_set(err, SWO_E_INVALID, 0, "query: uri or id is NULL");
	if (!journal_is_id(query->id))
		return swo_error_set(
			err, SWO_E_INVALID, 0, "query: '%.40s' is not a migration ID", query->id);
	return query->nonce ? 0 : swo_error_set(err, SWO_E_INVALID, 0, "query: nonce is 0");
}

int swo_migration_query(const struct swo_migration_query *given, enum swo_migration_answer *answer,
	char reason[SWO_REASON_MAX + 1], struct swo_error *err)
{
	static_assert(SWO_REASON_MAX == WIRE_TEXT_MAX, "a reason is a text of the wire");
	struct channel_security security = {0};
	struct swo_migration_query query;
	struct ask ask = {
		.security = &security, .take = acknowledges, .opaque = &query.acknowledge};

	reason[0] = 0;
	if (base_sized_copy("swo_migration_query", &query, sizeof(query), given, err) ||
		check_query(&query, err))
		return -1;
	security.insecure = query.insecure;
	if (query.tls && query.tls->creds[0] &&
		channel_tls_creds_load(query.tls, false, &security.tls, err))
		return -1;
	ask.uri = query.uri;
	ask.deadline_ms = query.deadline_ms;
	ask.ticket.nonce = query.nonce;
	ask.hello_nonce = query.hello_nonce;
	memcpy(ask.ticket.id, query.id, WIRE_ID_LEN);
	struct swo_error why = {0};
	int reply = migration_ask(&ask, reason, &why);

	channel_tls_creds_free(security.tls);
	switch (reply) {
	case WIRE_STARTED:
		*answer = SWO_ANSWER_STARTED;
		return 0;
	case WIRE_STARTING:
		*answer = SWO_ANSWER_STARTING;
		return 0;
	case WIRE_REFUSED:
		*answer = SWO_ANSWER_REFUSED;
		return 0;
	default:
		*answer = SWO_ANSWER_NONE;
		snprintf(reason, SWO_REASON_MAX + 1, "%s", why.text);
		return 0;
	}
}
