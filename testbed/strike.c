/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * strike.c - processes that are killed, frozen or starved, devices that are reset, monitors that
 * get a command, and links that fail.
 */
#include "testbed/strike.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

static void miss(struct strike_result *result, const char *why)
{
	result->hit = false;
	snprintf(result->text, sizeof(result->text), "%.290s", why);
}

/* A process that has ended cannot be struck. */
static bool lives(pid_t pid)
{
	siginfo_t info = {0};

	return pid > 0 && !waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) &&
	       !info.si_pid;
}

static void kill_one(int handle, struct strike_result *result)
{
	if (handle < 0 || !lives(process_pid(handle)))
		miss(result, "the process had ended before it was killed");
	process_kill(handle);
}

static void starve(pid_t pid, unsigned ms, struct strike_result *result)
{
	struct rlimit old, none;
	const uint64_t size = process_memory(pid).size;

	if (!size || prlimit(pid, RLIMIT_AS, NULL, &old)) {
		miss(result, "its memory cannot be limited");
		return;
	}
	none = old;
	none.rlim_cur = (rlim_t)size;
	if (prlimit(pid, RLIMIT_AS, &none, NULL)) {
		miss(result, "its memory cannot be limited");
		return;
	}
	process_pause_ms(ms);
	prlimit(pid, RLIMIT_AS, &old, NULL);
}

static char state_of(pid_t pid)
{
	char path[64], state = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	FILE *file = fopen(path, "re");
	if (file && fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	if (file)
		fclose(file);
	return state;
}

static void freeze(pid_t pid, unsigned ms, struct strike_result *result)
{
	kill(pid, SIGSTOP);
	process_pause_ms(ms);
	if (state_of(pid) != 'T')
		miss(result, "the process was not frozen");
	kill(pid, SIGCONT);
}

static void spoil_link(struct link *link, const struct strike *what)
{
	link_set(link, what->mode);
	if (!what->ms)
		return;
	process_pause_ms(what->ms);
	link_set(link, LINK_PASS);
}

static json_t *arguments_of(const struct pair *pair, const char *command)
{
	if (!strcmp(command, "migrate"))
		return json_pack("{s:s}", "uri", pair->uri);
	if (!strcmp(command, "migrate-incoming"))
		return json_pack("{s:s}", "uri", pair->listen_uri);
	return NULL;
}

static void command(
	struct pair *pair, struct qmp *qmp, const char *name, struct strike_result *result)
{
	struct swo_error err = {0};

	if (!monitor_command(qmp, name, arguments_of(pair, name), &err))
		return;
	result->refused = err.code == SWO_E_STATE;
	result->hit = result->refused;
	snprintf(result->text, sizeof(result->text), "%.290s", err.text);
}

struct strike_result strike(struct pair *pair, struct link *link, enum pair_side side, unsigned i,
	const struct strike *what)
{
	struct pair_end *end = &pair->ends[side];
	struct strike_result result = {.hit = true};
	struct swo_error err = {0};

	switch (what->kind) {
	case STRIKE_NOTHING:
		break;
	case STRIKE_KILL_VM:
		kill_one(end->vm, &result);
		break;
	case STRIKE_KILL_DEVICE:
		kill_one(end->devs[i], &result);
		break;
	case STRIKE_LINK:
		spoil_link(link, what);
		break;
	case STRIKE_NO_MEMORY:
		starve(process_pid(end->vm), what->ms, &result);
		break;
	case STRIKE_FREEZE:
		freeze(process_pid(end->vm), what->ms, &result);
		break;
	case STRIKE_FREEZE_DEVICE:
		freeze(process_pid(end->devs[i]), what->ms, &result);
		break;
	case STRIKE_RESET_DEVICE: {
		json_t *answer = control_request(&end->controls[i], "reset", &err);

		if (!answer)
			miss(&result, err.text);
		json_decref(answer);
		break;
	}
	case STRIKE_COMMAND:
		command(pair, &end->qmp, what->command, &result);
		break;
	case STRIKE_SIGNAL:
		if (!lives(process_pid(end->vm)) || kill(process_pid(end->vm), what->signo))
			miss(&result, "the process had ended before the signal");
		break;
	}
	return result;
}
