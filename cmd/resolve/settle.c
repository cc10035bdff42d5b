/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * settle.c - resolves one migration in doubt: gets the decision (from an operator, the target or
 * its journal), and applies it (to the journal of a dead source, the monitor of a live one).
 */
#include "cmd/common/qmp_client.h"
#include "cmd/resolve/resolve.h"

#include "switchover/migration.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ASK_MS	  5000
#define QMP_MS	  30000
#define SETTLE_MS 60000

static void conclude(struct resolve_result *out, enum resolve_outcome outcome, const char *by,
	const char *fmt, ...) SWO_PRINTF(4, 5);
static void conclude(struct resolve_result *out, enum resolve_outcome outcome, const char *by,
	const char *fmt, ...)
{
	char text[sizeof(out->text)];
	va_list ap;

	out->outcome = outcome;
	snprintf(out->by, sizeof(out->by), "%s", by);
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* The text may quote a target or a journal. */
	swo_escape(text, out->text, sizeof(out->text));
}

/* The target's journal:
 */

/* A directory, or the file itself. */
static void target_path(const struct resolve_request *request, char *path, size_t room)
{
	struct stat st;

	if (!stat(request->target_journal, &st) && S_ISDIR(st.st_mode))
		snprintf(path, room, "%.400s/%.36s.target", request->target_journal, request->id);
	else
		snprintf(path, room, "%.450s", request->target_journal);
}

/*
 * The outcome proved by the target's journal: RUN_HERE, RUNS_THERE or IN_DOUBT. Before it returns
 * RUN_HERE, the target's journal is marked as refused, too.
 */
static int resolve_proof(
	const struct resolve_request *request, struct resolve_result *out, struct swo_error *err)
{
	struct swo_journal_info info;
	char path[512];

	target_path(request, path, sizeof(path));
	if (swo_journal_read(path, &info, err))
		return -1;
	if (info.damage.code != SWO_E_NONE) {
		*err = info.damage;
		return -1;
	}
	if (info.side != SWO_JOURNAL_TARGET || strcmp(info.id, request->id))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"%.250s is not the target's journal of migration %s", path, request->id);
	switch (swo_journal_proof(&info, request->fenced)) {
	case SWO_JOURNAL_PROVES_RAN:
		conclude(out, RESOLVE_RUNS_THERE, "target-journal",
			"the target's journal ends with '%s': the VM has run there",
			swo_journal_event_name(info.last));
		return 0;
	case SWO_JOURNAL_PROVES_NEVER:
		/* Settles the target's journal too, so that it is not listed as open. */
		if (info.last != SWO_JOURNAL_REFUSED &&
			swo_journal_settle(
				path, SWO_JOURNAL_REFUSED, "settled by switchover resolve", err))
			return -1;
		conclude(out, RESOLVE_RUN_HERE, "target-journal",
			"the target's journal ends with '%s' and its process is dead: the VM never ran "
			"there",
			swo_journal_event_name(info.last));
		return 0;
	default:
		conclude(out, RESOLVE_IN_DOUBT, "target-journal",
			"the target's journal ends with '%s'%s%s%s",
			swo_journal_event_name(info.last),
			info.last == SWO_JOURNAL_STARTING ? ": the VM may have run there"
			: info.live
				? ", and its process is alive: query it (--uri), not its journal"
			: !info.complete
				? ", but that host has rebooted since, and later records may be "
				  "lost"
			: !info.original ? ", which proves nothing: "
					 : ", but whether its process is dead cannot be determined "
					   "on this host",
			info.live || !info.complete || info.original ||
					info.last == SWO_JOURNAL_STARTING
				? ""
				: info.origin,
			info.live || !info.complete || info.last == SWO_JOURNAL_STARTING
				? ""
				: "; once the target is off, add --fenced");
		return 0;
	}
}

/* The target */

static struct swo_migration_query query_of(
	const struct resolve_request *request, const struct swo_journal_info *info)
{
	return (struct swo_migration_query){.size = sizeof(struct swo_migration_query),
		.uri = request->uri ? request->uri : info->uri,
		.id = info->id,
		.nonce = info->nonce,
		.hello_nonce = info->hello_nonce,
		.insecure = request->tls.insecure,
		.tls = &request->tls.tls,
		.deadline_ms = ASK_MS};
}

/* The source's journal records that the VM runs there, so it no longer needs the target's. */
static void acknowledge(const struct resolve_request *request, const struct swo_journal_info *info)
{
	struct swo_migration_query query = query_of(request, info);
	enum swo_migration_answer answer;
	char reason[SWO_REASON_MAX + 1];
	struct swo_error err;

	query.acknowledge = true;
	swo_migration_query(&query, &answer, reason, &err);
}

static int ask_target(const struct resolve_request *request, const struct swo_journal_info *info,
	struct resolve_result *out, struct swo_error *err)
{
	const struct swo_migration_query query = query_of(request, info);
	enum swo_migration_answer answer;
	char reason[SWO_REASON_MAX + 1];

	if (!info->nonce)
		return swo_error_set(err, SWO_E_STATE, 0,
			"the journal has no nonce to authenticate the query to the target: use "
			"--target-journal, --run-here or --runs-there");
	if (swo_migration_query(&query, &answer, reason, err))
		return -1;
	switch (answer) {
	case SWO_ANSWER_STARTED:
		conclude(out, RESOLVE_RUNS_THERE, "target",
			"the target reports that the VM runs there");
		break;
	case SWO_ANSWER_STARTING:
		conclude(out, RESOLVE_IN_DOUBT, "target",
			"the target reports that it is starting the VM: query again");
		break;
	case SWO_ANSWER_REFUSED:
		conclude(out, RESOLVE_RUN_HERE, "target",
			"the target reports that it will never run the VM: %.200s", reason);
		break;
	case SWO_ANSWER_NONE:
		conclude(out, RESOLVE_IN_DOUBT, "", "%.400s", reason);
		break;
	}
	return 0;
}

/* The decision */

static bool operator_decided(const struct resolve_request *request, struct resolve_result *out)
{
	if (request->run_here)
		conclude(out, RESOLVE_RUN_HERE, "operator",
			"run here, decided by an operator: the target has been fenced");
	else if (request->runs_there)
		conclude(out, RESOLVE_RUNS_THERE, "operator",
			"given up here, decided by an operator: the VM runs on the target");
	return request->run_here || request->runs_there;
}

static enum swo_journal_event event_for(const struct resolve_result *found)
{
	bool target = !strcmp(found->by, "target");

	if (found->outcome == RESOLVE_RUN_HERE)
		return target ? SWO_JOURNAL_REFUSED : SWO_JOURNAL_RUN_HERE;
	return target ? SWO_JOURNAL_DONE : SWO_JOURNAL_RUNS_THERE;
}

/* Through the monitor */

/* Waits until it is no longer in doubt; returns a new reference. */
static json_t *wait_settled(struct qmp *qmp, struct swo_error *err)
{
	swo_deadline deadline = swo_deadline_ms(SETTLE_MS);

	for (;;) {
		json_t *info =
			qmp_execute(qmp, "query-migrate", NULL, swo_deadline_ms(QMP_MS), err);

		if (!info || strcmp(json_path_string(info, "status"), "in-doubt") != 0)
			return info;
		json_decref(info);
		if (swo_deadline_passed(deadline)) {
			swo_error_set(err, SWO_E_TIMEOUT, 0,
				"timed out waiting for the source to resolve the migration; see its "
				"query-migrate");
			return NULL;
		}
		swo_sleep_until(swo_now_ns() + 20000000);
	}
}

static int resolve_source(struct qmp *qmp, struct resolve_result *out, struct swo_error *err)
{
	bool here = out->outcome == RESOLVE_RUN_HERE;
	json_t *answer = qmp_execute(qmp, "x-migrate-resolve", json_pack("{s:b}", "run-here", here),
		swo_deadline_ms(QMP_MS), err);

	json_decref(answer);
	answer = answer ? wait_settled(qmp, err) : NULL;
	json_decref(answer);
	return answer ? 0 : -1;
}

static int settle_live(const struct resolve_request *requested, struct qmp *qmp, const json_t *info,
	struct resolve_result *out, struct swo_error *err)
{
	struct resolve_request request = *requested;
	const char *status = json_path_string(info, "status");
	const char *id = json_path_string(info, "x-id");

	if (request.id && strcmp(request.id, id))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"that VM's migration is %.40s, expected %.40s", *id ? id : "none",
			request.id);
	snprintf(out->id, sizeof(out->id), "%s", id);
	request.id = out->id;
	if (strcmp(status, "in-doubt")) {
		conclude(out, RESOLVE_NOTHING, "source", "migration %s is not in doubt: it is %s",
			*id ? id : "(none)", *status ? status : "missing");
		return 0;
	}
	if (!operator_decided(&request, out)) {
		conclude(out, RESOLVE_IN_DOUBT, "source",
			"migration %s is in doubt; its source is alive and keeps querying the target. If "
			"the target is lost, decide with --target-journal, --run-here --fenced, or "
			"--runs-there",
			id);
		if (request.target_journal && resolve_proof(&request, out, err))
			return -1;
	}
	return out->outcome == RESOLVE_IN_DOUBT ? 0 : resolve_source(qmp, out, err);
}

int resolve_live(
	const struct resolve_request *request, struct resolve_result *out, struct swo_error *err)
{
	struct qmp qmp;
	json_t *info = NULL;
	int rc = -1;

	if (!qmp_open(&qmp, request->qmp, false, swo_deadline_ms(QMP_MS), NULL, err))
		info = qmp_execute(&qmp, "query-migrate", NULL, swo_deadline_ms(QMP_MS), err);
	if (info)
		rc = settle_live(request, &qmp, info, out, err);
	json_decref(info);
	qmp_close(&qmp);
	return rc;
}

/* Through the journal */

static int forget(const struct resolve_request *request, const struct swo_journal_info *info,
	struct resolve_result *out, struct swo_error *err)
{
	if (info->live)
		return swo_error_set(err, SWO_E_STATE, 0,
			"cannot remove %.250s: its process is alive", info->path);
	if (!swo_journal_is_settled(info) && info->last != SWO_JOURNAL_STARTED && !request->fenced)
		return swo_error_set(err, SWO_E_STATE, 0,
			"%.250s is not settled; to remove it anyway, fence the other side and "
			"add --fenced",
			info->path);
	if (swo_journal_is_guard(info) && !request->fenced)
		return swo_error_set(err, SWO_E_STATE, 0,
			"%.250s prevents the start of VM '%.60s' here, which has moved away; "
			"if the VM runs on no other host, add --fenced",
			info->path, info->vm);
	if (unlink(info->path))
		return swo_error_set(err, SWO_E_IO, errno, "cannot remove %.250s", info->path);
	conclude(out, RESOLVE_FORGOTTEN, "operator", "%.250s is removed", info->path);
	return 0;
}

static int settle_dead(const struct resolve_request *request, const struct swo_journal_info *info,
	struct resolve_result *out, struct swo_error *err)
{
	if (!operator_decided(request, out) &&
		(request->target_journal ? resolve_proof(request, out, err)
					 : ask_target(request, info, out, err)))
		return -1;
	if (out->outcome == RESOLVE_IN_DOUBT) {
		size_t used = strlen(out->text);

		snprintf(out->text + used, sizeof(out->text) - used,
			". Migration %s stays in doubt", info->id);
		return 0;
	}
	if (swo_journal_settle(info->path, event_for(out), out->text, err))
		return -1;
	if (event_for(out) == SWO_JOURNAL_DONE)
		acknowledge(request, info);
	return 0;
}

int resolve_one(
	const struct resolve_request *request, struct resolve_result *out, struct swo_error *err)
{
	struct swo_journal_info info;
	char path[512];

	snprintf(out->id, sizeof(out->id), "%.36s", request->id);
	snprintf(path, sizeof(path), "%.400s/%.36s.source", request->dir, request->id);
	/* A target's journal can only be removed. */
	if (access(path, F_OK) && request->forget)
		snprintf(path, sizeof(path), "%.400s/%.36s.target", request->dir, request->id);
	if (swo_journal_read(path, &info, err))
		return -1;
	if (request->forget)
		return forget(request, &info, out, err);
	if (info.damage.code != SWO_E_NONE) {
		*err = info.damage;
		return -1;
	}
	if (!resolve_is_open(&info)) {
		conclude(out, RESOLVE_NOTHING, "source",
			"migration %s is not in doubt: its journal ends with '%s'", info.id,
			swo_journal_event_name(info.last));
		return 0;
	}
	if (info.live)
		return swo_error_set(err, SWO_E_STATE, 0,
			"the source of migration %s is alive and queries the target; to decide for it, "
			"connect to its monitor with --qmp",
			info.id);
	return settle_dead(request, &info, out, err);
}
