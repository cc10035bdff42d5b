/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * worker.c - named threads, and workers: one thread each, jobs in order.
 */
#include "switchover/base.h"

#include "base/memory.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

struct thread_start {
	void *(*fn)(void *);
	void *opaque;
	char name[16];
};

static void *thread_main(void *opaque)
{
	struct thread_start start = *(struct thread_start *)opaque;

	free(opaque);
	pthread_setname_np(pthread_self(), start.name);
	return start.fn(start.opaque);
}

int swo_thread_start(pthread_t *thread, const char *name, void *(*fn)(void *), void *opaque,
	struct swo_error *err)
{
	struct thread_start *start = malloc(sizeof(*start));

	if (!start)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "thread '%s'", name);
	start->fn = fn;
	start->opaque = opaque;
	snprintf(start->name, sizeof(start->name), "%s", name);

	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = pthread_create(thread, NULL, thread_main, start);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc) {
		free(start);
		return swo_error_set(err, SWO_E_NO_MEMORY, rc,
			"cannot start thread '%s'; raise the limit on processes (ulimit -u)", name);
	}
	return 0;
}

struct swo_worker {
	pthread_mutex_t mutex;
	pthread_cond_t changed; /* a job was queued or finished, or quit was set */
	pthread_t thread;
	struct swo_job *head;
	struct swo_job *tail;
	bool busy;
	bool quit;
	bool ended;
};

static struct swo_job *take_job(struct swo_worker *worker)
{
	struct swo_job *job = worker->head;

	worker->head = job->next;
	if (!worker->head)
		worker->tail = NULL;
	job->next = NULL;
	return job;
}

/* With the mutex held, except in the job's functions. */
static void run_job(struct swo_worker *worker, struct swo_job *job)
{
	void (*release)(void *opaque) = job->release;
	void *opaque = job->opaque;

	worker->busy = true;
	pthread_mutex_unlock(&worker->mutex);
	job->fn(opaque);
	pthread_mutex_lock(&worker->mutex);
	job->done = true; /* from here on it is the waiter's, which may reuse it */
	pthread_cond_broadcast(&worker->changed);
	if (release) {
		pthread_mutex_unlock(&worker->mutex);
		release(opaque);
		pthread_mutex_lock(&worker->mutex);
	}
	worker->busy = false;
	pthread_cond_broadcast(&worker->changed);
}

static void *worker_main(void *opaque)
{
	struct swo_worker *worker = opaque;

	pthread_mutex_lock(&worker->mutex);
	for (;;) {
		if (worker->head) {
			run_job(worker, take_job(worker));
		} else if (worker->quit) {
			break;
		} else {
			/* Idle until a job is submitted: the only wait without a deadline. */
			pthread_cond_wait(&worker->changed, &worker->mutex);
		}
	}
	worker->ended = true;
	pthread_cond_broadcast(&worker->changed);
	pthread_mutex_unlock(&worker->mutex);
	return NULL;
}

int swo_worker_create(const char *name, struct swo_worker **out, struct swo_error *err)
{
	struct swo_worker *worker = calloc(1, sizeof(*worker));

	if (!worker)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "worker '%s'", name);
	pthread_mutex_init(&worker->mutex, NULL);
	swo_cond_init(&worker->changed);
	if (swo_thread_start(&worker->thread, name, worker_main, worker, err)) {
		pthread_cond_destroy(&worker->changed);
		pthread_mutex_destroy(&worker->mutex);
		free(worker);
		return -1;
	}
	*out = worker;
	return 0;
}

static void submit(struct swo_worker *worker, struct swo_job *job, bool first)
{
	pthread_mutex_lock(&worker->mutex);
	job->worker = worker;
	job->done = false;
	job->next = NULL;
	if (!worker->head) {
		worker->head = worker->tail = job;
	} else if (first) {
		job->next = worker->head;
		worker->head = job;
	} else {
		worker->tail->next = job;
		worker->tail = job;
	}
	pthread_cond_broadcast(&worker->changed);
	pthread_mutex_unlock(&worker->mutex);
}

void swo_worker_submit(struct swo_worker *worker, struct swo_job *job)
{
	submit(worker, job, false);
}

void swo_worker_submit_first(struct swo_worker *worker, struct swo_job *job)
{
	submit(worker, job, true);
}

bool swo_job_wait(struct swo_job *job, swo_deadline deadline)
{
	struct swo_worker *worker = job->worker;

	pthread_mutex_lock(&worker->mutex);
	while (!job->done)
		if (swo_cond_wait(&worker->changed, &worker->mutex, deadline))
			break;
	bool done = job->done;
	pthread_mutex_unlock(&worker->mutex);
	return done;
}

bool swo_job_done(struct swo_job *job)
{
	return swo_job_wait(job, 0);
}

bool swo_worker_idle_wait(struct swo_worker *worker, swo_deadline deadline)
{
	pthread_mutex_lock(&worker->mutex);
	while (worker->busy || worker->head)
		if (swo_cond_wait(&worker->changed, &worker->mutex, deadline))
			break;
	bool idle = !worker->busy && !worker->head;
	pthread_mutex_unlock(&worker->mutex);
	return idle;
}

bool swo_worker_is_current(const struct swo_worker *worker)
{
	return pthread_equal(worker->thread, pthread_self());
}

bool swo_worker_destroy(struct swo_worker *worker, swo_deadline deadline)
{
	pthread_mutex_lock(&worker->mutex);
	worker->quit = true;
	pthread_cond_broadcast(&worker->changed);
	while (!worker->ended)
		if (swo_cond_wait(&worker->changed, &worker->mutex, deadline))
			break;
	bool ended = worker->ended;
	pthread_mutex_unlock(&worker->mutex);

	if (!ended) {
		pthread_detach(worker->thread);
		base_leak_hung(worker);
		return false;
	}
	pthread_join(worker->thread, NULL);
	pthread_cond_destroy(&worker->changed);
	pthread_mutex_destroy(&worker->mutex);
	free(worker);
	return true;
}
