/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * faults.h - shared by the files of `switchover-bench faults`: a case of the fault
 * matrix, the list of all, and how one case is run.
 */
#ifndef TESTBED_FAULTS_FAULTS_H
#define TESTBED_FAULTS_FAULTS_H

#include "testbed/moments.h"
#include "testbed/strike.h"

#define FAULT_VFS 2 /* devices of a side */

/* Where the VM may run in the end. Without any: on the side that the status names. */
enum { FAULT_AT_SOURCE = 1, FAULT_AT_TARGET = 2 };

struct fault_case {
	char name[80]; /* side/phase/fault/vfN */
	enum pair_side side;
	const char *phase;
	const char *fault;
	struct strike strike;	     /* STRIKE_NOTHING: a device does it by itself, by its spec */
	unsigned device;	     /* that does it, or is killed */
	char spec[72];		     /* one of simvf's faults */
	char arc[40];		     /* the error must name it; "": none */
	const char *finalise;	     /* x-finalise; NULL: as it comes */
	const char *provoke;	     /* of the target's other device; NULL: nothing */
	const struct moment *moment; /* of the strike; NULL: none */
	const char *simvf_option;    /* for all devices; NULL: none */
	unsigned ends;		     /* FAULT_AT_*; 0: either */
	bool names;		     /* the error must name the device */
	bool sound;		     /* the device must be unchanged afterwards */
	bool quick;		     /* among those of an ordinary test run */
};

/* All cases, in order; NULL: no memory. free() it. */
struct fault_case *fault_cases(size_t *count);

/* One case (run.c, judge.c) */

struct fault_result {
	const char *outcome; /* at-source, at-target, in-doubt, nowhere; "" before it is known */
	json_t *violations;  /* array of strings */
	char error[400];     /* of the side that failed */
	double ms;
};

/*
 * In a process of its own: it starts others, which die with it. *result is filled, always.
 * handover: as struct pair_config has it.
 */
void fault_run(
	const struct fault_case *c, const char *handover, struct fault_result *result, bool keep);

struct fault_run {
	const struct fault_case *c;
	struct pair pair;
	struct link *link;
	struct fault_result *result;
	bool source_gone, target_gone; /* killed by the testbed */
	bool link_gone;		       /* for good */
	char status[PAIR_STATUS_MAX];  /* query-migrate of the source at the end */
};
void fault_violation(struct fault_run *run, const char *fmt, ...) SWO_PRINTF(2, 3);
/* A process that was not struck has ended: adds that once. */
bool fault_died(struct fault_run *run, enum pair_side side);
bool fault_runs(struct fault_run *run, enum pair_side side);
/* Who runs, and everything else that must hold; stops and ends the machines. */
void fault_judge(struct fault_run *run);

#endif
