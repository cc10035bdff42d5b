/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control.c - the control socket: one JSON object per line in, one out. For the bench and the
 * tests: reports, faults at run time, releasing a hung arc.
 */
#include "server.h"

#include "base/net.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define REPLY_MAX (1u << 20)

void srv_control_drop(struct srv_control *c)
{
	swo_close_fd(&c->fd);
	free(c->in);
	swo_buf_free(&c->out);
	*c = (struct srv_control){.fd = -1};
}

void srv_control_accept(struct srv *s)
{
	for (unsigned i = 0; i < SRV_CONTROLS; i++) {
		struct srv_control *c = &s->controls[i];

		if (c->fd >= 0)
			continue;
		c->fd = base_accept(s->control_fd);
		if (c->fd < 0)
			return;
		c->in = malloc(SRV_CONTROL_MAX);
		c->out = (struct swo_buf)SWO_BUF_INIT(REPLY_MAX);
		if (!c->in)
			srv_control_drop(c);
		return;
	}
}

static json_t *failure(const char *what, const char *detail)
{
	return json_pack("{s:s++}", "error", what, detail ? ": " : "", detail ? detail : "");
}

static json_t *fault(struct srv *s, json_t *command)
{
	const char *spec = json_string_value(json_object_get(command, "spec"));
	const char *why = NULL;
	struct svf_fault f;

	if (!spec)
		return failure("\"spec\" of the fault: expected a string", NULL);
	if (!svf_fault_parse(spec, &f, &why))
		return failure("invalid fault spec", why);
	if (svf_add_fault(s->dev, &f))
		return failure("too many faults; send clear-faults first", NULL);
	return json_object();
}

static json_t *obey(struct srv *s, json_t *command)
{
	const char *cmd = json_string_value(json_object_get(command, "cmd"));

	if (!cmd)
		return failure("expected {\"cmd\": NAME}", NULL);
	if (!strcmp(cmd, "report"))
		return srv_report(s);
	if (!strcmp(cmd, "fault"))
		return fault(s, command);
	if (!strcmp(cmd, "release"))
		svf_release(s->dev, swo_now_ns());
	else if (!strcmp(cmd, "reset")) {
		svf_reset(s->dev, swo_now_ns());
		/* Nothing of the device is due that would wake the loop. */
		srv_progress(s, swo_now_ns());
	} else if (!strcmp(cmd, "clear-faults"))
		svf_clear_faults(s->dev);
	else if (!strcmp(cmd, "reset-stats"))
		svf_reset_stats(s->dev);
	else if (!strcmp(cmd, "quit"))
		s->quit = true;
	else
		return failure("unknown cmd", cmd);
	return json_object();
}

static int answer(struct srv *s, struct srv_control *c, const char *line, size_t len)
{
	json_t *command = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	json_t *reply = command ? obey(s, command) : failure("expected a JSON object", NULL);
	char *text = reply ? json_dumps(reply, JSON_COMPACT) : NULL;
	int rc = -1;

	json_decref(command);
	json_decref(reply);
	if (text && !swo_buf_append(&c->out, text, strlen(text), NULL))
		rc = swo_buf_append(&c->out, "\n", 1, NULL);
	free(text);
	return rc;
}

static int take_lines(struct srv *s, struct srv_control *c)
{
	size_t from = 0;

	for (;;) {
		char *end = memchr(c->in + from, '\n', c->in_len - from);

		if (!end)
			break;
		if (answer(s, c, c->in + from, (size_t)(end - c->in) - from))
			return -1;
		from = (size_t)(end - c->in) + 1;
	}
	memmove(c->in, c->in + from, c->in_len - from);
	c->in_len -= from;
	return c->in_len == SRV_CONTROL_MAX ? -1 : 0;
}

static int flush(struct srv_control *c)
{
	while (c->out_pos < c->out.len) {
		ssize_t n = send(c->fd, c->out.data + c->out_pos, c->out.len - c->out_pos,
			MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -1;
		c->out_pos += (size_t)n;
	}
	c->out.len = c->out_pos = 0;
	return 0;
}

void srv_control_serve(struct srv *s, struct srv_control *c, short events)
{
	bool over = false;

	if (events & (POLLIN | POLLHUP | POLLERR)) {
		ssize_t n =
			recv(c->fd, c->in + c->in_len, SRV_CONTROL_MAX - c->in_len, MSG_DONTWAIT);

		if (n > 0)
			c->in_len += (size_t)n;
		over = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) || take_lines(s, c);
	}
	if (flush(c) || over)
		srv_control_drop(c);
}
