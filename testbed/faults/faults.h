/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * faults.h - shared by the files of `switchover-bench faults`: a case of the fault
 * matrix, the list of all, and how one case is run.
 */
#ifndef TESTBED_FAULTS_FAULTS_H
#define TESTBED_FAULTS_FAULTS_H

#include "testbed/moments.h"
#include "testbed/strike.h"

/* Devices of a side: a first one, one in the middle, and two that share a PF. */
#define FAULT_VFS     4
#define FAULT_PF_FROM 2

/*
 * Deadlines of every case, in ms. A guest stands still no longer than the parts that can follow one
 * another, and FAULT_SLACK_MS for the machine that all of this runs on.
 */
#define FAULT_IDLE_MS	    1500
#define FAULT_COMMIT_MS	    2000
#define FAULT_SWITCHOVER_MS 4000 /* of the stop, until the target is ready */
#define FAULT_COMMAND_MS    5000 /* of a device's command: the library's */
#define FAULT_BACK_MS	    500	 /* from the last deadline to a running guest */
#define FAULT_SLACK_MS	    1000
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FAULT_ARC_MS 1200
#define FAULT_SLOWER 3 /* times the bound of a guest, and the guards */
#else
#define FAULT_ARC_MS 400
#define FAULT_SLOWER 1
#endif
#define FAULT_FROZEN_MS	       2000 /* longer than FAULT_ARC_MS and FAULT_IDLE_MS */
#define FAULT_FROZEN_WITHIN_MS 150

/* Where the VM may run in the end. Without any: on the side that the status names. */
enum { FAULT_AT_SOURCE = 1, FAULT_AT_TARGET = 2 };

/* What comes after the migration has ended. */
enum fault_then {
	FAULT_THEN_NOTHING,
	FAULT_THEN_AGAIN, /* the VM migrates to a new machine, and that must complete */
};

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
	enum fault_then then;
	unsigned bound_ms; /* of the guest, from doorbell to doorbell */
	bool pauses;	   /* the guest is paused afterwards, unless that was refused */
	bool ends_machine; /* the struck machine ends, unless that was refused */
	bool cancels;	   /* once the fault has hit */
	bool copy_only;	   /* concerns RAM that is copied */
	bool concerns;	   /* a device: the name ends with it */
	bool names;	   /* the error must name the device */
	bool sound;	   /* the device must be unchanged afterwards */
	bool quick;	   /* among those of an ordinary test run */
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
	const char *handover;
	struct strike_result struck;
	long log_from; /* what the struck machine writes to its log from then on */
	struct pair pair;
	struct link *link;
	struct fault_result *result;
	bool source_gone, target_gone; /* killed by the testbed, or ended on request */
	bool link_gone;		       /* for good */
	char status[PAIR_STATUS_MAX];  /* query-migrate of the source at the end */
	unsigned lost[PAIR_SIDES];     /* devices, a bit each, as the machine reports */
	unsigned files;		       /* of the source before it migrated */
	bool fresh;		       /* the VM was restarted: nothing of the old one counts */
	bool again;		       /* it has migrated a second time */
};
/* The name of why a case does not apply here; NULL: it does. */
const char *fault_skipped(const struct fault_case *c, const char *handover);
void fault_violation(struct fault_run *run, const char *fmt, ...) SWO_PRINTF(2, 3);
/* A process that was not struck has ended: adds that once. */
bool fault_died(struct fault_run *run, enum pair_side side);
bool fault_runs(struct fault_run *run, enum pair_side side);
/* The same, within the time that a machine may take for it. */
bool fault_comes_to_run(struct fault_run *run, enum pair_side side);
/* Waits until the source's status is an end. */
void fault_await_end(struct fault_run *run);
/* recover.c: the VM must run on one side, which may take an operator; false: it does not. */
bool fault_recover(struct fault_run *run);
/* Does this side's query-migrate report it? */
bool fault_has_status(struct fault_run *run, enum pair_side side, const char *status);
/* recover.c: the VM, wherever it runs, migrates to a new machine. */
void fault_migrate_again(struct fault_run *run);
/* recover.c: a VM that was lost, or that has lost a device, is restarted; false: it is not. */
bool fault_restart(struct fault_run *run);
/* Sets up a pair for cases: pair_start comes next. fault_finish also after a failure. */
int fault_prepare(struct fault_run *run, struct pair_config *config, const char *handover,
	struct swo_error *err);
/* Migrates with the case's fault, to the end of it. */
int fault_inject(struct fault_run *run, struct swo_error *err);
void fault_finish(struct fault_run *run, bool keep);
/* Who runs, and everything else that must hold of it. */
void fault_judge(struct fault_run *run);
/* Ends the machines: each must, and leave nothing. */
void fault_judge_end(struct fault_run *run);

#endif
