/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * jobs.c - one job on every device's worker, and the wait for all of them.
 */
#include "migration/source/source.h"

/* A migration that breaks meanwhile is left at once, and the clean-up waits for the worker. */
int source_jobs_await(
	struct source *s, swo_deadline deadline, const char *what, struct swo_error *err)
{
	for (unsigned i = 0; i < s->m.vm.device_count; i++)
		while (!swo_job_wait(
			&s->devices[i].job, swo_deadline_min(swo_deadline_ms(100), deadline))) {
			if (migration_broken(&s->m, err))
				return -1;
			if (swo_deadline_passed(deadline))
				return swo_error_set(err, SWO_E_TIMEOUT, 0,
					"device %s: timed out %s",
					swo_device_name(s->devices[i].dev), what);
		}
	return migration_broken(&s->m, err) ? -1 : 0;
}

int source_jobs_wait(struct source *s, struct swo_error *err)
{
	/* Backend calls have deadlines of their own. */
	return source_jobs_await(s, UINT64_MAX, "", err);
}

void source_job_release(void *opaque)
{
	migration_release(&((struct source_device *)opaque)->source->m);
}

void source_jobs_submit(struct source *s, void (*fn)(void *sd))
{
	for (unsigned i = 0; i < s->m.vm.device_count; i++) {
		struct source_device *sd = &s->devices[i];

		sd->job = (struct swo_job){.fn = fn, .opaque = sd, .release = source_job_release};
		migration_hold(&s->m);
		swo_worker_submit(swo_device_worker(sd->dev), &sd->job);
	}
}
