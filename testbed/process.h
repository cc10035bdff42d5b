/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * process.h - the processes of the testbed: started with a log each, watched, and killed whatever
 * happens.
 * 
 * Threads: the main one only, because a process dies with the thread that started it.
 */
#ifndef TESTBED_PROCESS_H
#define TESTBED_PROCESS_H

#include "switchover/base.h"

#include <sys/types.h>

/* Ctrl-C and SIGTERM: everything is wound up. Set by a signal handler. */
extern volatile int process_interrupted;
/* Catches the signals and kills what is left at exit. Once. */
void process_init(void);
/*
 * Starts argv (NULL-terminated) with its output in `log`; it dies with this process. `name` is
 * for messages. Returns a handle >= 0, or -1.
 */
int process_spawn(
	const char *name, const char *const *argv, const char *log, struct swo_error *err);
/*
 * A program that daemonizes: waits until what was started has ended well, and goes on with the
 * daemon, whose ID is in `pid_file`. It does not die with this process unless that ends normally.
 */
int process_follow(int handle, const char *pid_file, unsigned within_ms, struct swo_error *err);
pid_t process_pid(int handle);
/* Kills and reaps one, or all. */
void process_kill(int handle);
void process_kill_all(void);
/* SWO_E_PEER_LOST, naming it, when one has ended by itself; SWO_E_CANCELLED on a signal. */
int process_check_alive(struct swo_error *err);
/* Sleeps so long, with both checks. */
int process_sleep_ms(unsigned ms, struct swo_error *err);
/* For waits that look themselves at what they wait for: it has passed, or there was an interrupt. */
bool process_over(swo_deadline deadline);
/* Sleeps so long, or until an interrupt. */
void process_pause_ms(unsigned ms);
/* The directory of `switchover`, and of those that lie beside it: this program's, or the one that
   $SWITCHOVER names (the tests are elsewhere). */
const char *process_program_dir(void);
/* Threads and peak resident bytes of a process; what cannot be read leaves *both alone. */
void process_sample(pid_t pid, unsigned *threads, uint64_t *rss);
/* The same for its open files: too dear to be done while something is measured. */
void process_sample_files(pid_t pid, unsigned *files);
/* In bytes; all 0 if it cannot be read. */
struct process_memory {
	uint64_t size, resident; /* of the address space */
	uint64_t anonymous;	 /* of what is resident, its own: neither of files nor shared */
};
struct process_memory process_memory(pid_t pid);

#endif
