/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control.c - requests to devices and monitors, and clearing up after a run.
 */
#include "testbed/control.h"

#include "testbed/process.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_MS 60000

int control_open(
	struct json_sock *sock, struct swo_error *err, uint64_t deadline_ms, const char *fmt, ...)
{
	char uri[160] = "unix:";
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(uri + 5, sizeof(uri) - 5, fmt, ap);
	va_end(ap);
	return json_sock_open(
		sock, uri, true, swo_deadline_ms(deadline_ms), &process_interrupted, err);
}

json_t *control_request(struct json_sock *sock, const char *cmd, struct swo_error *err)
{
	json_t *question = json_pack("{s:s}", "cmd", cmd);
	json_t *answer = NULL;

	if (!question)
		swo_error_set(err, SWO_E_NO_MEMORY, 0, "no memory for a command");
	/* Its answer would not be waited for: a caller that repeats it would fill the socket. */
	else if (process_interrupted)
		swo_error_set(err, SWO_E_CANCELLED, 0, "interrupted");
	else if (!json_sock_send(sock, question, swo_deadline_ms(ANSWER_MS), err))
		answer =
			json_sock_recv(sock, swo_deadline_ms(ANSWER_MS), &process_interrupted, err);
	json_decref(question);
	const char *error = json_path_string(answer, "error");
	if (error[0]) {
		swo_error_set(err, SWO_E_STATE, 0, "%s: %s: %s", sock->peer, cmd, error);
		json_decref(answer);
		return NULL;
	}
	return answer;
}

int monitor_open(struct qmp *qmp, const char *uri, uint64_t deadline_ms, struct swo_error *err)
{
	return qmp_open(qmp, uri, true, swo_deadline_ms(deadline_ms), &process_interrupted, err);
}

json_t *monitor_execute(
	struct qmp *qmp, const char *command, json_t *arguments, struct swo_error *err)
{
	json_t *answer = qmp_execute(qmp, command, arguments, swo_deadline_ms(ANSWER_MS), err);

	if (!answer)
		swo_error_prefix(err, "%s", qmp->sock.peer);
	return answer;
}

int monitor_command(struct qmp *qmp, const char *command, json_t *arguments, struct swo_error *err)
{
	json_t *answer = monitor_execute(qmp, command, arguments, err);

	json_decref(answer);
	return answer ? 0 : -1;
}

json_t *monitor_timeline(struct qmp *qmp, struct swo_error *err)
{
	json_t *answer =
		monitor_execute(qmp, "x-query-timeline", json_pack("{s:s}", "format", "json"), err);
	/* A text, in "text" or by itself, or the object at once. */
	const char *text = json_string_value(
		json_is_object(answer) ? json_object_get(answer, "text") : answer);

	if (!text)
		return answer;
	json_t *timeline = json_loads(text, 0, NULL);
	json_decref(answer);
	if (!timeline)
		swo_error_set(err, SWO_E_PROTOCOL, 0, "%s: x-query-timeline did not return JSON",
			qmp->sock.peer);
	return timeline;
}

void control_remove_dir(const char *dir)
{
	DIR *open_dir = opendir(dir);
	const struct dirent *entry;

	if (!open_dir)
		return;
	while ((entry = readdir(open_dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			unlinkat(dirfd(open_dir), entry->d_name, 0);
	closedir(open_dir);
	rmdir(dir);
}
