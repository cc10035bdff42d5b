/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench.h - what the verbs that measure share: what is asked for, what one migration
 * gave, and the rows they add up to.
 */
#ifndef TESTBED_BENCH_BENCH_H
#define TESTBED_BENCH_BENCH_H

#include "analysis/bound.h"

#include "switchover/migration.h"

#include <jansson.h>
#include <stdio.h>
#include <sys/types.h>

#define BENCH_LIST_MAX 16
#define BENCH_VFS_MAX  256

/* What is asked for (args.c, config.c) */

enum bench_kind { BENCH_RUN, BENCH_ABLATE, BENCH_SCALE, BENCH_CALIBRATE };

struct bench_config {
	enum bench_kind kind;
	unsigned vfs[BENCH_LIST_MAX];
	unsigned vfs_count;
	const char *transitions[2]; /* "serial", "parallel" */
	unsigned transitions_count;
	const char *profile; /* of simvf, or "mixed": four in turn */
	const char *backend; /* vfio-user, kernel */
	unsigned runs;
	const char *accel;   /* auto, kvm, native */
	const char *channel; /* unix, tcp */
	const char *tls;     /* x509, psk; NULL: none */
	unsigned channels;
	const char *handover;			       /* copy, fd; NULL: the default, copy */
	const char *join, *stream, *finalise, *config; /* NULL: the VMM's default */
	const char *pf;				       /* all on this one; NULL: by the profile */
	unsigned pfs;				       /* spread over so many; 0: not asked */
	bool pf_arcs;
	unsigned root_ports; /* devices lie behind so many, in turn; 0: on the root bus */
	const char *ram;     /* as the VMM takes it */
	bool fill_ram;	     /* every page of it is written before the guest starts */
	unsigned vcpus;
	unsigned dirty_rate, dma_pages, dma_rate, p2p_rate, irq_every;
	unsigned handler_cost_ms;
	unsigned doorbell_period_us; /* 0: by the number of VFs */
	uint64_t max_bandwidth;	     /* bytes a second before the stop; 0: no limit */
	const char *output;	     /* of calibrate: the file for the engine overhead */
	uint64_t state_bytes;	     /* of each device, whatever the profile says; 0: as it says */
	const char *costs_file;	     /* what was calibrated; NULL: nothing */
	struct swo_costs costs;	     /* from there */
	bool probed;		     /* the machines are told what the devices take */
	bool keep, verbose;
	const char *json, *timeline; /* files to write; NULL: none */
};

void bench_defaults(struct bench_config *config);
/* Fills *config with a verb's defaults and the command line; ends the program on invalid usage. */
void bench_parse_args(enum bench_kind kind, int argc, char **argv, struct bench_config *config);
/*
 * Everything that can be known before a process is started: options that exclude each other,
 * profiles, sizes, files to read and to write, programs and devices. Reads config->costs.
 * SWO_E_INVALID is invalid usage. The error names the option. Leaves no file behind.
 */
int bench_check(struct bench_config *config, struct swo_error *err);
/* SWO_E_INVALID when simvf.ko has fewer devices than these (testbed/pair/kernel.c). */
int bench_check_kernel(unsigned devices, struct swo_error *err);
/* SWO_E_IO, naming the option, when this file cannot be written; it is not changed. NULL: fine. */
int bench_check_output(const char *option, const char *path, struct swo_error *err);
bool bench_hands_over(const struct bench_config *config); /* RAM, by descriptor */
unsigned bench_doorbell_period_us(const struct bench_config *config, unsigned vfs);
/* In so many turns, so that some device is rung every millisecond with any number of VFs. */
unsigned bench_doorbell_turns(const struct bench_config *config, unsigned vfs);
/* The profile of device i, and the PF it is on (-1: none). */
const char *bench_profile_of(const struct bench_config *config, unsigned i);
int bench_pf_of(const struct bench_config *config, unsigned i);

/* Processes (testbed/process.c) */

/* Ctrl-C and SIGTERM: everything is wound up. Set by a signal handler. */
extern volatile int bench_interrupted;
/* Catches the signals and kills what is left at exit. Once. */
void bench_proc_init(void);
/*
 * Starts argv (NULL-terminated) with its output in `log`; it dies with this process. `name` is
 * for messages. Returns a handle >= 0, or -1.
 */
int bench_spawn(const char *name, const char *const *argv, const char *log, struct swo_error *err);
pid_t bench_pid(int handle);
/* Kills and reaps one, or all. */
void bench_kill(int handle);
void bench_kill_all(void);
/* SWO_E_PEER_LOST, naming it, when one has ended by itself; SWO_E_CANCELLED on a signal. */
int bench_check_alive(struct swo_error *err);
/* Sleeps so long, with both checks. */
int bench_sleep_ms(unsigned ms, struct swo_error *err);
/* The directory of `switchover`, and of those that lie beside it: this program's, or the one that
   $SWITCHOVER names (the tests are elsewhere). */
const char *bench_program_dir(void);
/* Threads and peak resident bytes of a process; what cannot be read leaves *both alone. */
void bench_sample_process(pid_t pid, unsigned *threads, uint64_t *rss);
/* The same for its open files: too dear to be done while something is measured. */
void bench_sample_files(pid_t pid, unsigned *files);

/* One migration (run.c, gather.c) */

struct bench_sample {
	bool whole;
	char why_not[600];
	char accel[16];
	double blackout_ms, device_gap_ms, switchover_ms;
	double estimate_ms; /* the source's, when it stopped; 0: it said none */
	uint64_t last_doorbell_ns, first_doorbell_ns; /* the ends of the blackout */
	uint64_t doorbells_lost, doorbells_repeated, p2p_violations, quiesce_violations;
	uint64_t state_mismatches, ram_mismatches, resets;
	unsigned threads_max;
	uint64_t rss_max_bytes;
	unsigned files_max; /* open files of either machine, before and after */
	double start_ms;    /* of the slower machine: from its start until its monitor answers */
	double total_ms;    /* query-migrate's total-time */
	struct bound_device *devices; /* with the bytes sent after the stop; vfs of them */
	double ram_bytes;	      /* sent after the stop */
	bool finalise_late;	      /* an input of the bound, too */
	bool guesses;		      /* the profile contains some */
	char *timeline;		      /* JSON, or NULL */
};

/* Starts everything, migrates, gathers, checks, ends everything. -1: it could not be done or was
   interrupted; what was measured but is not whole is 0 with sample->whole false. */
int bench_migrate_once(const struct bench_config *config, unsigned vfs, const char *transitions,
	struct bench_sample *sample, struct swo_error *err);
void bench_sample_free(struct bench_sample *sample);

/* Turns what was gathered (arrays of device reports of both sides, QMP answers) into figures. Pure.
 */
struct bench_gathered {
	unsigned vfs;
	json_t *source_reports, *target_reports; /* arrays, in order of devices */
	json_t *source_migrate;			 /* query-migrate of the source */
	json_t *source_status, *target_status;	 /* query-status */
	json_t *target_guest;			 /* x-query-guest */
	json_t *target_ram;			 /* x-check-ram */
	json_t *timeline;			 /* x-query-timeline, parsed; NULL: none */
};
void bench_gathered_free(struct bench_gathered *gathered);
void bench_evaluate(const struct bench_config *config, const struct bench_gathered *gathered,
	struct bench_sample *sample);

/* Rows, table and JSON (out.c) */

struct bench_row {
	const struct bench_config *config; /* its own with ablate */
	unsigned vfs;
	const char *transitions;
	const char *variant; /* what ablate has switched; NULL: this is no such row */
	struct bench_sample *samples;
	unsigned count;
	double wire_rate, rtt_ms; /* of testbed/yardstick/chain */
	unsigned doorbell_period_us, doorbell_turns;
};

struct bench_spread {
	double min, median, max;
};
/* Sorts `values`. All zero when there are none. */
struct bench_spread bench_spread_of(double *values, size_t count);
/* One figure of every run of a row; `which` is passed on. All zero when there is no memory. */
typedef double (*bench_figure_fn)(
	const struct bench_row *row, const struct bench_sample *sample, int which);
struct bench_spread bench_spread_over(
	const struct bench_row *row, bench_figure_fn figure, int which);
struct bound bench_bound_of(const struct bench_row *row, const struct bench_sample *sample);
/* The run whose blackout is the median one; NULL without runs. */
const struct bench_sample *bench_median_run(const struct bench_row *row);

struct bench_spread bench_blackout(const struct bench_row *row);
/* What tells it from the other rows of so many VFs: "parallel", "--stream late". */
const char *bench_row_name(const struct bench_row *row);

void bench_print_table(
	FILE *out, const struct bench_config *config, const struct bench_row *rows, size_t count);
/* One object, a new reference; NULL: no memory. */
json_t *bench_row_json(const struct bench_config *config, const struct bench_row *row);

/* Where the time went (path.c) */

struct bench_step {
	const char *side;
	char span[48], device[32];
	double ms;
};
/* From the last doorbell on the source to the first on the target, without a hole. */
struct bench_path {
	struct bench_step *steps;
	size_t count;
	double sum_ms;
};
int bench_path_of(const struct bench_sample *sample, struct bench_path *out, struct swo_error *err);
void bench_path_free(struct bench_path *path);
/* Of the median run of each row. */
void bench_print_paths(FILE *out, const struct bench_row *rows, size_t count);
/* Adds "critical_path" and "critical_path_sum_ms" to a row; "critical_path_error" when there is
   none. */
int bench_path_json(const struct bench_row *row, json_t *out);

/* What was predicted (predict.c) */

/* The model's blackout for the median run: with its profile, wire and the bytes that it sent
   after the stop. -1: there is no such run, or the model does not know what it was asked to do. */
int bench_predict(const struct bench_row *row, double *ms, struct swo_error *err);
/* The source's own estimate when it stopped, median of the runs; 0: none. */
double bench_estimate(const struct bench_row *row);
void bench_print_predictions(FILE *out, const struct bench_row *rows, size_t count);
/* Adds "predicted_ms", "predicted_ratio", "estimated_ms", "estimated_ratio" (null where there is
   none), and "predicted_error" when the model could not. */
int bench_prediction_json(const struct bench_row *row, json_t *out);

/* What each part is worth (ablate.c):
 */

#define BENCH_NAME_MAX	   32
#define BENCH_VARIANTS_MAX 9

struct bench_variant {
	char name[BENCH_NAME_MAX];
	const char *transitions;
	struct bench_config config;
};
/* The full pipeline first, then each with one thing changed; how many. */
size_t bench_variants(
	const struct bench_config *base, struct bench_variant out[BENCH_VARIANTS_MAX]);
/* True of every row but those of ablate. */
bool bench_row_is_full(const struct bench_row *row);

/* How much longer the median blackout is than that of the full pipeline with as many VFs. */
struct bench_worth {
	double ms, percent;
};
/* False when there is nothing to compare. */
bool bench_worth(const struct bench_row *rows, size_t count, const struct bench_row *row,
	struct bench_worth *out);
void bench_print_ablation(FILE *out, const struct bench_row *rows, size_t count);
/* Adds "variant", "worth_ms" and "worth_percent" to a row of ablate. */
int bench_worth_json(
	const struct bench_row *rows, size_t count, const struct bench_row *row, json_t *out);

/* What the machinery costs (calibrate.c):
 */

void bench_calibrate_defaults(struct bench_config *config);
/* The rows that it takes; how many. */
size_t bench_calibrate_rows(
	const struct bench_config *base, struct bench_variant out[BENCH_VARIANTS_MAX]);
/* SWO_E_STATE when the runs of these rows say nothing. */
int bench_calibrate(
	const struct bench_row *rows, size_t count, struct swo_costs *out, struct swo_error *err);
/* Prints it, and writes config->output. */
int bench_show_calibration(FILE *out, const struct bench_config *config,
	const struct bench_row *rows, size_t count, struct swo_error *err);

/* How it grows (scale.c):
 */

void bench_scale_defaults(struct bench_config *config);
/* 1, 2, 4 ... up to `most`, into config->vfs. */
void bench_scale_vfs(struct bench_config *config, unsigned most);
/* What grows with the number of VFs, of each row, and by how much since the row before. */
void bench_print_scale(FILE *out, const struct bench_row *rows, size_t count);
/* Adds "files_max", "start_ms" and "total_ms". */
int bench_scale_json(const struct bench_row *row, json_t *out);

/* The wire (wire.c) */

/* The path of the yardstick; NULL: it is not there. */
const char *bench_find_chain(struct swo_error *err);
/* Runs testbed/yardstick/chain with the row's devices and bytes; fills wire_rate and rtt_ms. */
int bench_measure_wire(
	const struct bench_config *config, struct bench_row *row, struct swo_error *err);

#endif
