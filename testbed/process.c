/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * process.c - the processes of the testbed: started with a log each, watched, and
 * killed whatever happens.
 */
#include "testbed/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROCS_MAX 520 /* 256 devices of either side, and the machines */

static struct proc {
	pid_t pid; /* 0: free */
	char name[32];
	char log[160];
} procs[PROCS_MAX];

volatile int process_interrupted;

static void on_signal(int sig)
{
	process_interrupted = sig;
}

void process_init(void)
{
	struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	/* A daemon's parent ends. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	atexit(process_kill_all);
}

/* The child's part between fork and exec. */
static void become(const char *const *argv, int log, pid_t parent)
{
	int null = open("/dev/null", O_RDONLY);

	/* It must not outlive us, nor get the terminal's Ctrl-C: we end it when we are done. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(126);
	setpgid(0, 0);
	if (dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0)
		_exit(126);
	execv(argv[0], (char *const *)argv);
	dprintf(2, "cannot run %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

int process_spawn(const char *name, const char *const *argv, const char *log, struct swo_error *err)
{
	pid_t parent = getpid();
	int handle = 0;

	while (handle < PROCS_MAX && procs[handle].pid)
		handle++;
	if (handle == PROCS_MAX)
		return swo_error_set(err, SWO_E_NO_MEMORY, 0,
			"no more than %d processes at a time; use fewer --vfs", PROCS_MAX);
	swo_autofd int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0)
		return swo_error_set(err, SWO_E_IO, errno, "%s: open its log '%s'", name, log);
	pid_t pid = fork();
	if (pid < 0)
		return swo_error_set(err, SWO_E_NO_MEMORY, errno, "%s: fork", name);
	if (pid == 0)
		become(argv, fd, parent);
	procs[handle].pid = pid;
	snprintf(procs[handle].name, sizeof(procs[handle].name), "%s", name);
	snprintf(procs[handle].log, sizeof(procs[handle].log), "%s", log);
	return handle;
}

pid_t process_pid(int handle)
{
	return procs[handle].pid;
}

void process_kill(int handle)
{
	if (handle < 0 || !procs[handle].pid)
		return;
	kill(procs[handle].pid, SIGKILL);
	while (waitpid(procs[handle].pid, NULL, 0) < 0 && errno == EINTR)
		;
	procs[handle].pid = 0;
}

void process_kill_all(void)
{
	/* All signals first: their ends overlap. */
	for (int i = 0; i < PROCS_MAX; i++)
		if (procs[i].pid)
			kill(procs[i].pid, SIGKILL);
	for (int i = 0; i < PROCS_MAX; i++)
		process_kill(i);
}

/* The last line of a log, where a program that ends prints the reason. */
static void last_words(const char *path, char *out, size_t len)
{
	swo_autofd int fd = open(path, O_RDONLY | O_CLOEXEC);
	char tail[512];

	snprintf(out, len, "(its log is empty)");
	if (fd < 0)
		return;
	off_t size = lseek(fd, 0, SEEK_END);
	off_t from = size > (off_t)sizeof(tail) - 1 ? size - (off_t)sizeof(tail) + 1 : 0;
	ssize_t got = pread(fd, tail, sizeof(tail) - 1, from);
	while (got > 0 && tail[got - 1] == '\n')
		got--;
	if (got <= 0)
		return;
	tail[got] = 0;
	/* argp prints a line about --help behind its error. */
	char *advice = strstr(tail, "\nTry `");
	if (advice)
		*advice = 0;
	const char *line = strrchr(tail, '\n');
	snprintf(out, len, "%.*s", (int)len - 1, line ? line + 1 : tail);
}

static int describe_end(const struct proc *proc, int status, struct swo_error *err)
{
	char words[300];

	last_words(proc->log, words, sizeof(words));
	if (WIFSIGNALED(status))
		return swo_error_set(err, SWO_E_PEER_LOST, 0, "%s was killed by signal %d: %s",
			proc->name, WTERMSIG(status), words);
	return swo_error_set(err, SWO_E_PEER_LOST, 0, "%s ended by itself with status %d: %s",
		proc->name, WEXITSTATUS(status), words);
}

static pid_t read_pid(const char *path)
{
	FILE *file = fopen(path, "re");
	int pid = 0;

	if (file) {
		if (fscanf(file, "%d", &pid) != 1)
			pid = 0;
		fclose(file);
	}
	return pid;
}

/* The daemon's parents are gone: it becomes a child of this process. */
int process_follow(int handle, const char *pid_file, unsigned within_ms, struct swo_error *err)
{
	const swo_deadline until = swo_deadline_ms(within_ms);
	struct proc *proc = &procs[handle];
	int status = 0;

	while (waitpid(proc->pid, &status, WNOHANG) == 0) {
		if (swo_deadline_passed(until))
			return swo_error_set(
				err, SWO_E_TIMEOUT, 0, "%s does not daemonize", proc->name);
		swo_sleep_until(swo_deadline_ms(5));
	}
	proc->pid = 0;
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return describe_end(proc, status, err);
	proc->pid = read_pid(pid_file);
	return proc->pid > 0 ? 0
			     : swo_error_set(err, SWO_E_IO, 0, "%s left no ID in '%s'", proc->name,
				       pid_file);
}

int process_check_alive(struct swo_error *err)
{
	if (process_interrupted)
		return swo_error_set(err, SWO_E_CANCELLED, 0, "interrupted");
	for (int i = 0; i < PROCS_MAX; i++) {
		int status;

		if (!procs[i].pid || waitpid(procs[i].pid, &status, WNOHANG) != procs[i].pid)
			continue;
		procs[i].pid = 0;
		return describe_end(&procs[i], status, err);
	}
	return 0;
}

bool process_over(swo_deadline deadline)
{
	return process_interrupted || swo_deadline_passed(deadline);
}

void process_pause_ms(unsigned ms)
{
	swo_deadline until = swo_deadline_ms(ms);

	while (!process_over(until))
		swo_sleep_until(swo_deadline_min(until, swo_deadline_ms(20)));
}

int process_sleep_ms(unsigned ms, struct swo_error *err)
{
	swo_deadline until = swo_deadline_ms(ms);

	for (;;) {
		if (process_check_alive(err))
			return -1;
		if (swo_deadline_passed(until))
			return 0;
		swo_sleep_until(swo_deadline_min(until, swo_deadline_ms(20)));
	}
}

const char *process_program_dir(void)
{
	static char path[4096];

	if (!path[0]) {
		const char *program = getenv("SWITCHOVER");
		ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);

		path[len > 0 ? len : 0] = 0;
		if (program)
			snprintf(path, sizeof(path), "%s", program);
		char *dir = dirname(path);
		if (dir != path)
			snprintf(path, sizeof(path), "%s", dir);
	}
	return path;
}

void process_sample(pid_t pid, unsigned *threads, uint64_t *rss)
{
	char path[64], line[256];
	unsigned long long value;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	FILE *file = fopen(path, "re");
	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "VmHWM: %llu kB", &value) == 1 && value * 1024 > *rss)
			*rss = value * 1024;
		if (sscanf(line, "Threads: %llu", &value) == 1 && value > *threads)
			*threads = (unsigned)value;
	}
	fclose(file);
}

struct process_memory process_memory(pid_t pid)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	unsigned long size = 0, resident = 0, shared = 0;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	FILE *file = fopen(path, "re");
	if (!file)
		return (struct process_memory){0};
	if (fscanf(file, "%lu %lu %lu", &size, &resident, &shared) != 3)
		size = resident = shared = 0;
	fclose(file);
	return (struct process_memory){
		.size = size * page,
		.resident = resident * page,
		.anonymous = (resident - shared) * page,
	};
}

void process_sample_files(pid_t pid, unsigned *files)
{
	char path[64];
	unsigned count = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	DIR *dir = opendir(path);
	if (!dir)
		return;
	for (const struct dirent *entry; (entry = readdir(dir));)
		count += entry->d_name[0] != '.';
	closedir(dir);
	if (count > *files)
		*files = count;
}
