/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * extras.c - optional features: MIG_DATA_SIZE, pre-copy information, DMA maps and a log of DMA;
 * and a check of the config space.
 */
#include "probe/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CONFIG_REGION 7
#define SCRATCH	      65536u
#define PAGE	      4096u

/* Sizes */

static void check_data_size(struct session *s)
{
	static const enum swo_device_state states[] = {SWO_DEVICE_RUNNING, SWO_DEVICE_RUNNING_P2P,
		SWO_DEVICE_PRE_COPY, SWO_DEVICE_STOP, SWO_DEVICE_STOP_COPY, SWO_DEVICE_RESUMING};
	static const char name[] = "data-size";
	uint64_t stopped = 0;

	if (!(s->out->info.features & SWO_FEATURE_DATA_SIZE) || !s->target.ops->data_size) {
		probe_note(s, SWO_VERDICT_SKIP, name, "not offered");
		return;
	}
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(states) && !s->lost; i++) {
		if (!swo_device_state_supported(states[i], s->flags) || probe_reach(s, states[i]))
			continue;
		s->call.op = OP_DATA_SIZE;
		if (!probe_perform(s, name)) {
			probe_note(s, SWO_VERDICT_PASS, name, "supported in every state");
			if (states[i] == SWO_DEVICE_STOP)
				stopped = s->call.a;
		} else if (!s->lost) {
			probe_note(s, SWO_VERDICT_FAIL, name,
				"failed in %s, though it is allowed in every state: %s",
				swo_device_state_name(states[i]), s->call.err.text);
		}
	}
	if (s->lost || !s->out->state_bytes || !stopped)
		return;
	if (stopped < s->out->state_bytes / 2 || stopped / 2 > s->out->state_bytes)
		probe_note(s, SWO_VERDICT_RISK, "data-size.estimate",
			"estimate of %llu bytes, actual %llu: no downtime can be predicted",
			(unsigned long long)stopped, (unsigned long long)s->out->state_bytes);
	else
		probe_note(s, SWO_VERDICT_PASS, "data-size.estimate", "%llu bytes for %llu",
			(unsigned long long)stopped, (unsigned long long)s->out->state_bytes);
}

static void check_precopy_info(struct session *s)
{
	static const char name[] = "precopy-info";

	if (!(s->flags & SWO_MIG_PRE_COPY) || !s->target.ops->precopy_info) {
		probe_note(s, SWO_VERDICT_SKIP, name, "not offered");
		return;
	}
	if (probe_reach(s, SWO_DEVICE_RUNNING) || probe_go_arc(s, SWO_DEVICE_PRE_COPY))
		return;
	s->call.op = OP_PRECOPY_INFO;
	if (probe_perform(s, name)) {
		if (!s->lost)
			probe_note(s,
				s->call.err.code == SWO_E_UNSUPPORTED ? SWO_VERDICT_SKIP
								      : SWO_VERDICT_FAIL,
				name, "%s", s->call.err.text);
		return;
	}
	uint64_t before = s->call.a;

	s->stream.len = 0;
	s->call.op = OP_READ_ALL;
	s->call.piece = 0;
	if (probe_perform(s, name))
		return;
	s->call.op = OP_PRECOPY_INFO;
	if (!probe_perform(s, name) && s->call.a)
		probe_note(s, SWO_VERDICT_RISK, name,
			"%llu initial bytes remain (of %llu) after all data was read",
			(unsigned long long)s->call.a, (unsigned long long)before);
	else if (!s->lost && !s->call.rc)
		probe_note(s, SWO_VERDICT_PASS, name, "%llu initial bytes",
			(unsigned long long)before);
	if (s->lost || probe_reach(s, SWO_DEVICE_STOP_COPY))
		return;
	s->call.op = OP_PRECOPY_INFO;
	if (!probe_perform(s, name))
		probe_note(s, SWO_VERDICT_FAIL, name,
			"succeeds in STOP_COPY, where it is not defined");
}

/* DMA and config space */

/* Judges the result of a function of several calls. */
static void judge(struct session *s, const char *name,
	int (*fn)(struct session *s, struct probe_call *call), const char *unit)
{
	s->call.op = OP_FN;
	s->call.fn = fn;
	s->call.verdict = SWO_VERDICT_FAIL;
	if (!probe_perform(s, name))
		probe_note(s, SWO_VERDICT_PASS, name, "%s 0x%llx", unit,
			(unsigned long long)s->call.a);
	else if (!s->lost)
		probe_note(s, s->call.verdict, name, "%s", s->call.err.text);
}

static int log_once(struct session *s, struct probe_call *c)
{
	static const struct swo_dma_range range = {0, SCRATCH};
	const struct swo_device_ops *ops = s->target.ops;
	void *self = s->target.self;
	uint64_t bits = 0;

	c->a = PAGE;
	if (ops->dma_log_start(self, &c->a, &range, 1, &c->err)) {
		/* In a kernel without iommufd its report fails. */
		if (c->err.code == SWO_E_UNSUPPORTED)
			c->verdict = SWO_VERDICT_RISK;
		return swo_error_prefix(&c->err, "offered, but unusable");
	}
	int rc = ops->dma_log_report(self, 0, SCRATCH, c->a, &bits, &c->err);
	struct swo_error ignored;

	if (ops->dma_log_stop(self, rc ? &ignored : &c->err) || rc)
		return -1;
	if (ops->dma_log_report(self, 0, SCRATCH, c->a, &bits, &ignored))
		return 0;
	return swo_error_set(
		&c->err, SWO_E_DEVICE, 0, "device %s: the log reports after STOP", s->target.name);
}

/* Twice: a stop must not prevent a later start. */
static int log_twice(struct session *s, struct probe_call *c)
{
	return log_once(s, c) || log_once(s, c) ? -1 : 0;
}

static int map_and_unmap(struct session *s, struct probe_call *c)
{
	const struct swo_device_ops *ops = s->target.ops;
	bool has_log = s->out->info.features & SWO_FEATURE_DMA_LOG && ops->dma_log_start;
	swo_autofd int fd = memfd_create("switchover-probe", MFD_CLOEXEC);
	struct swo_error ignored;
	void *host = MAP_FAILED;

	if (fd >= 0 && !ftruncate(fd, SCRATCH))
		host = mmap(NULL, SCRATCH, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (host == MAP_FAILED) {
		c->verdict = SWO_VERDICT_SKIP;
		return swo_error_set(&c->err, SWO_E_NO_MEMORY, errno, "memory to map");
	}
	int rc = ops->dma_map(s->target.self, 0, SCRATCH, fd, 0, host, 3, &c->err);

	if (!rc) {
		if (c->b && has_log)
			rc = log_twice(s, c);
		if (ops->dma_unmap(s->target.self, 0, SCRATCH, rc ? &ignored : &c->err))
			rc = -1;
	}
	munmap(host, SCRATCH);
	if (!c->b)
		c->a = SCRATCH;
	return rc;
}

static void check_dma(struct session *s)
{
	const struct swo_device_ops *ops = s->target.ops;

	if (!ops->dma_map || !ops->dma_unmap || probe_reach(s, SWO_DEVICE_RUNNING))
		return;
	s->call.b = 0;
	judge(s, "dma-map", map_and_unmap, "bytes:");
	if (s->lost || probe_noted(s, "dma-map") != SWO_VERDICT_PASS)
		return;
	if (!(s->out->info.features & SWO_FEATURE_DMA_LOG) || !ops->dma_log_start) {
		probe_note(s, SWO_VERDICT_SKIP, "dma-log",
			"not offered: all guest memory counts as dirty when it stops");
		return;
	}
	s->call.b = 1;
	judge(s, "dma-log", map_and_unmap, "page size");
}

static int read_config(struct session *s, struct probe_call *c)
{
	uint16_t id[2] = {0};

	if (s->target.ops->region_read(s->target.self, CONFIG_REGION, 0, id, sizeof(id), &c->err))
		return -1;
	c->a = id[0];
	if (id[0] != 0xffff && id[0])
		return 0;
	return swo_error_set(&c->err, SWO_E_DEVICE, 0, "device %s: invalid vendor ID 0x%04x",
		s->target.name, id[0]);
}

static void check_config(struct session *s)
{
	if (s->out->info.regions[CONFIG_REGION].size && s->target.ops->region_read &&
		!probe_reach(s, SWO_DEVICE_RUNNING))
		judge(s, "config-space", read_config, "vendor");
}

void probe_check_extras(struct session *s)
{
	check_data_size(s);
	if (!s->lost)
		check_precopy_info(s);
	if (!s->lost)
		check_config(s);
	if (!s->lost)
		check_dma(s);
}
