/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ask.c - the question of a source in doubt.
 */
#include "migration/ask.h"

#include <string.h>

/* How soon a wish to give up is noticed. */
#define LOOK_MS 50

static int answer_comes(const struct ask *ask, struct swo_conn *conn, struct swo_error *err)
{
	swo_deadline deadline = swo_deadline_ms(ask->deadline_ms);

	do {
		if (swo_conn_readable(conn, swo_deadline_min(deadline, swo_deadline_ms(LOOK_MS))))
			return 0;
		if (ask->give_up && ask->give_up(ask->opaque))
			return swo_error_set(err, SWO_E_CANCELLED, 0, "the question was given up");
	} while (!swo_deadline_passed(deadline));
	return swo_error_set(
		err, SWO_E_TIMEOUT, 0, "the target at '%.200s' does not answer", ask->uri);
}

static int take_answer(const struct ask *ask, struct swo_channel *channel,
	char word[WIRE_TEXT_MAX + 1], struct swo_error *err)
{
	struct swo_frame_header header;

	if (swo_channel_recv_header(channel, &header, WIRE_TEXT_MAX, 0, err) ||
		swo_channel_recv_payload(channel, &header, word, header.length, NULL, 0, err))
		return -1;
	word[header.length] = 0;
	switch (header.type) {
	case WIRE_STARTED:
	case WIRE_STARTING:
	case WIRE_REFUSED:
		return header.type;
	default:
		return swo_error_set(err, SWO_E_STATE, 0,
			"what listens at '%.150s' knows nothing of this migration: %.150s",
			ask->uri, header.type == WIRE_ABORT ? word : "it answers nonsense");
	}
}

int migration_ask(const struct ask *ask, char word[WIRE_TEXT_MAX + 1], struct swo_error *err)
{
	struct swo_frame_header header = {.type = WIRE_ASK};
	struct swo_channel channel;
	struct swo_conn *conn;
	int answer = -1;

	if (swo_conn_open(ask->uri, ask->security, swo_deadline_ms(ask->deadline_ms), &conn, err))
		return -1;
	swo_channel_init(&channel, conn, ask->deadline_ms);
	if (!swo_channel_send(&channel, &header, &ask->ticket, sizeof(ask->ticket), err) &&
		!answer_comes(ask, conn, err))
		answer = take_answer(ask, &channel, word, err);
	swo_channel_close(&channel);
	return answer;
}
