/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * resolve.h - what the files of `switchover resolve` share: what is asked for, what was found
 * out, and how it is said.
 */
#ifndef CMD_RESOLVE_RESOLVE_H
#define CMD_RESOLVE_RESOLVE_H

#include "cmd/common/tls_args.h"
#include "switchover/journal.h"

#include <stdio.h>

struct resolve_request {
	const char *dir; /* of the journals */
	const char *id;	 /* NULL: list, or what the monitor says */
	const char *qmp, *uri, *target_journal;
	bool run_here, runs_there, fenced, forget, prune, json;
	struct tls_args tls; /* the question to the target is put over a connection as any */
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
	char by[24];	/* target, target-journal, operator, source; "": nobody */
	char text[500]; /* a sentence on it */
};

/* settle.c: -1: it could not be done or found out, *err says why; else *out. */
int resolve_one(
	const struct resolve_request *request, struct resolve_result *out, struct swo_error *err);
/* The same through the monitor of a source that lives. */
int resolve_live(
	const struct resolve_request *request, struct resolve_result *out, struct swo_error *err);
/*
 * What the target's journal says: RUN_HERE, RUNS_THERE or IN_DOUBT. Before it says RUN_HERE it has
 * made sure that the target's side will read it as refused, too.
 */
int resolve_proof(
	const struct resolve_request *request, struct resolve_result *out, struct swo_error *err);

/* out.c */
void resolve_print_list(FILE *out, const struct resolve_request *request,
	struct swo_journal_info *list, size_t count);
void resolve_print_result(
	FILE *out, const struct resolve_request *request, const struct resolve_result *result);
/* Is it one that somebody has to settle? */
bool resolve_is_open(const struct swo_journal_info *info);

#endif
