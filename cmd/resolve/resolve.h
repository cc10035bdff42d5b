/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * resolve.h - shared by the files of `switchover resolve`: the request, the result, and its output.
 */
#ifndef CMD_RESOLVE_RESOLVE_H
#define CMD_RESOLVE_RESOLVE_H

#include "cmd/common/tls_args.h"
#include "switchover/journal.h"

#include <stdio.h>

struct resolve_request {
	const char *dir; /* of the journals */
	const char *id;	 /* NULL: list, or the monitor's migration */
	char id_text[SWO_JOURNAL_VM_MAX];
	const char *qmp, *uri, *target_journal;
	const char *json_file; /* NULL: stdout */
	bool run_here, runs_there, fenced, forget, prune, json;
	struct tls_args tls; /* for the connection to the target */
	char default_dir[400];
};

enum resolve_outcome {
	RESOLVE_NOTHING, /* it was not in doubt */
	RESOLVE_RUN_HERE,
	RESOLVE_RUNS_THERE,
	RESOLVE_IN_DOUBT,
	RESOLVE_FORGOTTEN,
};

struct resolve_result {
	enum resolve_outcome outcome;
	char id[40];
	char by[24];	/* target, target-journal, operator, source; "": none */
	char text[500]; /* the reason */
};

/* settle.c: -1: failed or unknown, with *err; else *out. */
int resolve_one(
	const struct resolve_request *request, struct resolve_result *out, struct swo_error *err);
/* Likewise through the monitor of a live source. */
int resolve_live(
	const struct resolve_request *request, struct resolve_result *out, struct swo_error *err);

/* out.c */
void resolve_print_list(FILE *out, const struct resolve_request *request,
	struct swo_journal_info *list, size_t count);
void resolve_print_result(
	FILE *out, const struct resolve_request *request, const struct resolve_result *result);
/* True if an operator has to resolve it. */
bool resolve_is_open(const struct swo_journal_info *info);

#endif
