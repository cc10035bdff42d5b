/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fake_device.c - the backend of fake_device.h.
 */
#include "testbed/fake_device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Every migration function: one at a time, and always by the same thread. */
static void enter(struct fake_device *fake)
{
	pthread_mutex_lock(&fake->group->mutex);
	if (fake->inside++ || (fake->called && !pthread_equal(fake->caller, pthread_self())))
		atomic_fetch_add(&fake->offences, 1);
	fake->caller = pthread_self();
	fake->called = true;
}

static int leave(struct fake_device *fake, int rc)
{
	fake->inside--;
	pthread_cond_broadcast(&fake->group->changed);
	pthread_mutex_unlock(&fake->group->mutex);
	return rc;
}

static int offend(struct fake_device *fake, struct swo_error *err, const char *what)
{
	atomic_fetch_add(&fake->offences, 1);
	return swo_error_set(err, SWO_E_INVALID, EINVAL, "device %s: %s", fake->name, what);
}

static int fail_gone(struct fake_device *fake, struct swo_error *err)
{
	return swo_error_set(err, SWO_E_PEER_LOST, 0, "device %s is gone", fake->name);
}

static void hang(struct fake_device *fake)
{
	fake->hanging++;
	pthread_cond_broadcast(&fake->group->changed);
	while (!fake->released)
		pthread_cond_wait(&fake->group->changed, &fake->group->mutex);
	fake->released = false;
	fake->hanging--;
}

static void hang_once(struct fake_device *fake, enum fake_call call)
{
	if (!call || fake->hang_in != call || (fake->hang_at && fake->hang_at != fake->state))
		return;
	fake->hang_in = FAKE_CALL_NONE;
	hang(fake);
}

static void meet(struct fake_group *group)
{
	swo_deadline guard = swo_deadline_ms(FAKE_GUARD_MS);

	group->here++;
	pthread_cond_broadcast(&group->changed);
	while (group->here < group->want && !group->missed)
		group->missed = swo_cond_wait(&group->changed, &group->mutex, guard);
}

/* States */

static int get_mig_flags(void *self, uint64_t *flags, struct swo_error *err)
{
	struct fake_device *fake = self;

	(void)err;
	enter(fake);
	if (fake->hang_flags)
		hang(fake);
	*flags = fake->flags;
	return leave(fake, 0);
}

static int get_state(void *self, enum swo_device_state *state, struct swo_error *err)
{
	struct fake_device *fake = self;

	enter(fake);
	hang_once(fake, FAKE_CALL_STATE);
	if (fake->gone)
		return leave(fake, fail_gone(fake, err));
	if (fake->mute_state)
		return leave(fake, swo_error_set(err, SWO_E_DEVICE, EIO, "no answer"));
	*state = fake->odd_state ? (enum swo_device_state)77 : fake->state;
	return leave(fake, 0);
}

/* The uAPI allows a driver to take several arcs; callers must request single ones only. */
static bool is_single(const struct fake_device *fake, enum swo_device_state to)
{
	enum swo_device_state next;

	return !swo_device_next_state(fake->state, to, fake->flags, &next) && next == to;
}

static bool has_session(enum swo_device_state state)
{
	return state == SWO_DEVICE_PRE_COPY || state == SWO_DEVICE_PRE_COPY_P2P ||
	       state == SWO_DEVICE_STOP_COPY;
}

static size_t precopy_of(const struct fake_device *fake)
{
	return fake->precopy ? fake->precopy : fake->size / 2;
}

/* Of what may go in PRE_COPY, with so many increments. */
static size_t stream_length(const struct fake_device *fake, unsigned increments)
{
	size_t len = precopy_of(fake);

	for (unsigned i = 0; i < increments; i++)
		len += fake->increments[i];
	return len;
}

/* The place in the state of the stream's byte `at`, and how many follow it there. */
static size_t place_of(const struct fake_device *fake, size_t at, size_t *run)
{
	size_t end = precopy_of(fake);

	*run = end - at;
	if (at < end)
		return at;
	for (unsigned i = 0; i < fake->increment_count; i++) {
		end += fake->increments[i];
		*run = end - at;
		if (at < end)
			return precopy_of(fake) - *run;
	}
	*run = fake->size - precopy_of(fake) - (at - end);
	return fake->size - *run;
}

/* Goes there, as what was loaded allows. */
static int arrive(struct fake_device *fake, enum swo_device_state to, struct swo_error *err)
{
	enum swo_device_state from = fake->state;

	if (has_session(to) && !has_session(from)) {
		fake->read_at = 0;
		fake->increments_saved = 0;
		fake->initial_end = precopy_of(fake);
	}
	if (to == SWO_DEVICE_RESUMING && from != to)
		fake->loaded_len = 0;
	if (from == SWO_DEVICE_RESUMING && to != from) {
		fake->loaded_ok =
			fake->loaded_len == stream_length(fake, fake->increment_count) +
						    fake->size - precopy_of(fake) &&
			!fake->refuse &&
			!(fake->expected && memcmp(fake->loaded, fake->expected, fake->size));
		if (!fake->loaded_ok)
			return swo_error_set(err, SWO_E_DEVICE, EINVAL, "this state is not mine");
	}
	fake->state = to;
	return 0;
}

static enum fake_deed next_deed(struct fake_device *fake, enum swo_device_state to)
{
	struct fake_script *script = &fake->script[fake->state][to];
	enum fake_deed deed = script->deed;

	if (script->times && !--script->times)
		script->deed = FAKE_PASS;
	return deed;
}

static int perform(struct fake_device *fake, enum swo_device_state to, struct swo_error *err)
{
	switch (next_deed(fake, to)) {
	case FAKE_FAIL:
		return swo_error_set(err, SWO_E_DEVICE, EBUSY, "refuses");
	case FAKE_FAIL_THERE:
		fake->state = to;
		return swo_error_set(err, SWO_E_DEVICE, EINTR, "was interrupted");
	case FAKE_BREAK:
		fake->state = SWO_DEVICE_ERROR;
		return swo_error_set(err, SWO_E_DEVICE, EIO, "broke");
	case FAKE_LOSE:
		fake->gone = true;
		return fail_gone(fake, err);
	case FAKE_HANG:
		hang(fake);
		break;
	case FAKE_MEET:
		meet(fake->group);
		break;
	case FAKE_PASS:
		break;
	}
	return arrive(fake, to, err);
}

static int set_state(void *self, enum swo_device_state to, struct swo_error *err)
{
	struct fake_device *fake = self;
	struct fake_group *group = fake->group;
	char what[48];

	enter(fake);
	if (fake->gone)
		return leave(fake, fail_gone(fake, err));
	snprintf(what, sizeof(what), "%s>%s", swo_device_state_name(fake->state),
		swo_device_state_name(to));
	if (fake->record)
		fake->record(fake, what);
	if (!is_single(fake, to))
		return leave(fake, offend(fake, err, "not a single arc"));
	/* Outstanding reads would be written to memory that may be reused. */
	if (fake->asked[0])
		return leave(fake, offend(fake, err, "left with reads under way"));
	if (++group->arcs_now > group->arcs_at_once)
		group->arcs_at_once = group->arcs_now;
	if (fake->inside_arc) {
		pthread_mutex_unlock(&group->mutex);
		fake->inside_arc(fake, to);
		pthread_mutex_lock(&group->mutex);
	}
	int rc = perform(fake, to, err);

	group->arcs_now--;
	return leave(fake, rc);
}

static int reset(void *self, struct swo_error *err)
{
	struct fake_device *fake = self;

	enter(fake);
	if (fake->gone)
		return leave(fake, fail_gone(fake, err));
	hang_once(fake, FAKE_CALL_RESET);
	fake->resets++;
	if (fake->reset_meets)
		meet(fake->group);
	if (fake->record)
		fake->record(fake, "reset");
	if (fake->reset == FAKE_RESET_UNSUPPORTED)
		return leave(fake, swo_error_set(err, SWO_E_UNSUPPORTED, 0, "device %s: no reset",
					   fake->name));
	if (fake->reset == FAKE_RESET_NOT_STOPPED &&
		(fake->state == SWO_DEVICE_STOP || fake->state == SWO_DEVICE_STOP_COPY))
		return leave(fake, swo_error_set(err, SWO_E_DEVICE, EINVAL, "not in this state"));
	if (fake->reset == FAKE_RESET_FAILS)
		return leave(fake, swo_error_set(err, SWO_E_DEVICE, EIO, "will not be reset"));
	if (fake->reset == FAKE_RESET_RUNS)
		fake->state = SWO_DEVICE_RUNNING;
	memset(fake->asked, 0, sizeof(fake->asked));
	return leave(fake, 0);
}

/* Data: copied without the mutex, so that devices of a group do not wait for each other. */

static void enter_data(struct fake_device *fake, enum fake_call call)
{
	enter(fake);
	hang_once(fake, call);
	fake->gone = fake->gone || (call && fake->lose_in == call);
	pthread_mutex_unlock(&fake->group->mutex);
}

static int leave_data(struct fake_device *fake, int rc)
{
	pthread_mutex_lock(&fake->group->mutex);
	return leave(fake, rc);
}

static int data_ask(void *self, void *buf, size_t len, struct swo_error *err)
{
	struct fake_device *fake = self;
	unsigned i = 0;

	(void)len;
	enter_data(fake, FAKE_CALL_NONE);
	while (i < SWO_READS_AHEAD && fake->asked[i])
		i++;
	if (fake->state != SWO_DEVICE_STOP_COPY || i == SWO_READS_AHEAD)
		return leave_data(fake, offend(fake, err, "collected out of order"));
	fake->asked[i] = buf;
	return leave_data(fake, 0);
}

static int read_state(
	struct fake_device *fake, void *buf, size_t len, size_t *got, struct swo_error *err)
{
	size_t end = stream_length(fake, fake->increments_saved);

	if (fake->state == SWO_DEVICE_STOP_COPY)
		end = stream_length(fake, fake->increment_count) + fake->size - precopy_of(fake);
	size_t n = fake->read_at < end ? end - fake->read_at : 0;

	if (fake->gone)
		return fail_gone(fake, err);
	if (!has_session(fake->state))
		return offend(fake, err, "read without a session");
	if (fake->asked[0]) {
		if (fake->asked[0] != buf)
			return offend(fake, err, "collected out of order");
		memmove(fake->asked, fake->asked + 1, sizeof(fake->asked) - sizeof(fake->asked[0]));
		fake->asked[SWO_READS_AHEAD - 1] = NULL;
	}
	/* All of it has changed again; slow enough that a test does not move gigabytes. */
	if (fake->churns && fake->state == SWO_DEVICE_PRE_COPY) {
		usleep(1000);
		fake->read_at = 0;
		n = fake->size;
	}
	if (n > len)
		n = len;
	if (fake->fail_read_at && fake->read_at + n >= fake->fail_read_at)
		return swo_error_set(err, SWO_E_DEVICE, EIO, "device %s: read", fake->name);
	for (size_t done = 0, run; done < n; done += run) {
		const size_t from = place_of(fake, fake->read_at + done, &run);

		run = run < n - done ? run : n - done;
		memcpy((uint8_t *)buf + done, fake->saved + from, run);
	}
	fake->read_at = fake->churns && fake->state == SWO_DEVICE_PRE_COPY ? 0 : fake->read_at + n;
	*got = n;
	return 0;
}

static int data_read(void *self, void *buf, size_t len, size_t *got, struct swo_error *err)
{
	enter_data(self, FAKE_CALL_READ);
	return leave_data(self, read_state(self, buf, len, got, err));
}

static int write_state(struct fake_device *fake, const void *buf, size_t len, struct swo_error *err)
{
	if (fake->gone)
		return fail_gone(fake, err);
	if (fake->state != SWO_DEVICE_RESUMING)
		return offend(fake, err, "written without a session");
	if (fake->fail_write_at && fake->loaded_len + len >= fake->fail_write_at)
		return swo_error_set(err, SWO_E_DEVICE, EIO, "device %s: write", fake->name);
	/* What came later replaces what was first. */
	if (fake->churns && fake->loaded_len + len > fake->size && len <= fake->size) {
		const size_t keep = fake->size - len;

		memmove(fake->loaded, fake->loaded + fake->loaded_len - keep, keep);
		fake->loaded_len = keep;
	}
	if (fake->loaded_len + len >
		stream_length(fake, fake->increment_count) + fake->size - precopy_of(fake))
		return swo_error_set(err, SWO_E_DEVICE, ENOSPC, "device %s: too much", fake->name);
	for (size_t done = 0, run; done < len; done += run) {
		const size_t to = place_of(fake, fake->loaded_len + done, &run);

		run = run < len - done ? run : len - done;
		memcpy(fake->loaded + to, (const uint8_t *)buf + done, run);
	}
	fake->loaded_len += len;
	return 0;
}

static int data_write(void *self, const void *buf, size_t len, struct swo_error *err)
{
	struct fake_device *fake = self;

	if (fake->hang_write_at && fake->loaded_len + len >= fake->hang_write_at) {
		fake->hang_write_at = 0;
		fake->hang_in = FAKE_CALL_WRITE;
	}
	enter_data(self, FAKE_CALL_WRITE);
	return leave_data(self, write_state(self, buf, len, err));
}

/* As mlx5 and virtio: the complete state, whatever was read of it. */
static int data_size(void *self, uint64_t *bytes, struct swo_error *err)
{
	struct fake_device *fake = self;

	enter_data(fake, FAKE_CALL_SIZE);
	if (fake->no_size)
		return leave_data(fake, swo_error_set(err, SWO_E_UNSUPPORTED, 0,
						"device %s: no MIG_DATA_SIZE", fake->name));
	if (fake->fail_size)
		return leave_data(fake, swo_error_set(err, SWO_E_DEVICE, EINVAL,
						"device %s: MIG_DATA_SIZE", fake->name));
	*bytes = fake->size;
	return leave_data(fake, 0);
}

static int read_info(struct fake_device *fake, struct swo_precopy_info *info, struct swo_error *err)
{
	if (fake->no_info)
		return swo_error_set(
			err, SWO_E_UNSUPPORTED, 0, "device %s: no PRECOPY_INFO", fake->name);
	if (fake->state != SWO_DEVICE_PRE_COPY && fake->state != SWO_DEVICE_PRE_COPY_P2P)
		return offend(fake, err, "PRECOPY_INFO outside of PRE_COPY");
	fake->info_calls++;
	*info = (struct swo_precopy_info){0};
	if (fake->churns) {
		info->initial_bytes = fake->size;
		return 0;
	}
	if (fake->state == SWO_DEVICE_PRE_COPY_P2P && fake->reinit_stopped) {
		*info = (struct swo_precopy_info){.initial_bytes = 4096, .reinit = true};
		return 0;
	}
	size_t saved = stream_length(fake, fake->increments_saved);

	/* A device that is quiet saves nothing. */
	if (fake->state == SWO_DEVICE_PRE_COPY && fake->read_at == saved &&
		fake->increments_saved < fake->increment_count) {
		saved = stream_length(fake, ++fake->increments_saved);
		info->reinit = fake->increments_saved == fake->reinit_at;
		if (info->reinit)
			fake->initial_end = saved;
	}
	if (fake->read_at < fake->initial_end)
		info->initial_bytes = fake->initial_end - fake->read_at;
	else
		info->dirty_bytes = saved - fake->read_at;
	return 0;
}

static int precopy_info(void *self, struct swo_precopy_info *info, struct swo_error *err)
{
	enter_data(self, FAKE_CALL_INFO);
	return leave_data(self, read_info(self, info, err));
}

static size_t chunk(void *self)
{
	return ((struct fake_device *)self)->chunk;
}

/* DMA: from any thread */

static int dma_log_start(void *self, uint64_t *page_size, const struct swo_dma_range *ranges,
	size_t count, struct swo_error *err)
{
	struct fake_device *fake = self;
	int rc = 0;

	pthread_mutex_lock(&fake->group->mutex);
	hang_once(fake, FAKE_CALL_LOG_START);
	if (fake->log_on || count > FAKE_RANGES_MAX)
		rc = offend(fake, err, "a second DMA log, or too many ranges");
	else if (fake->fail_log_start)
		/* As long as the kernel backend's, which has the reasons of two trackers. */
		rc = swo_error_set(err, SWO_E_DEVICE, EIO,
			"device %s: the kernel starts a DMA log but cannot report from it "
			"(DMA_LOGGING_REPORT); a kernel with CONFIG_IOMMUFD can; device %s: VFIO "
			"type1 reports every page as dirty: a device of its container is behind an "
			"IOMMU",
			fake->name, fake->name);
	if (!rc) {
		fake->log_on = true;
		if (count)
			memcpy(fake->log_ranges, ranges, count * sizeof(*ranges));
		fake->log_range_count = count;
		if (fake->log_page)
			*page_size = fake->log_page;
		fake->log_page = *page_size;
	}
	pthread_mutex_unlock(&fake->group->mutex);
	return rc;
}

static int dma_log_stop(void *self, struct swo_error *err)
{
	struct fake_device *fake = self;

	(void)err;
	pthread_mutex_lock(&fake->group->mutex);
	hang_once(fake, FAKE_CALL_LOG_STOP);
	fake->log_on = false;
	pthread_mutex_unlock(&fake->group->mutex);
	return 0;
}

static int dma_log_report(void *self, uint64_t iova, uint64_t length, uint64_t page_size,
	uint64_t *bitmap, struct swo_error *err)
{
	struct fake_device *fake = self;
	int rc = 0;

	pthread_mutex_lock(&fake->group->mutex);
	hang_once(fake, FAKE_CALL_LOG_REPORT);
	if (fake->fail_log_report)
		rc = swo_error_set(err, SWO_E_DEVICE, EIO, "device %s: no report", fake->name);
	else if (!fake->log_on || page_size != fake->log_page || iova % page_size ||
		 length % page_size)
		rc = offend(fake, err, "no such report");
	for (size_t i = 0; !rc && i < fake->written_count; i++) {
		uint64_t page = (fake->written[i] - iova) / page_size;

		if (fake->written[i] >= iova && fake->written[i] - iova < length)
			bitmap[page / 64] |= UINT64_C(1) << (page % 64);
	}
	pthread_mutex_unlock(&fake->group->mutex);
	return rc;
}

static int dma_map(void *self, uint64_t iova, uint64_t size, int fd, uint64_t offset, void *host,
	uint32_t prot, struct swo_error *err)
{
	struct fake_device *fake = self;
	int rc = 0;

	(void)host;
	(void)prot;
	pthread_mutex_lock(&fake->group->mutex);
	fake->map_calls++;
	for (unsigned i = 0; i < fake->map_count; i++)
		if (iova < fake->maps[i].iova + fake->maps[i].size &&
			fake->maps[i].iova < iova + size)
			rc = swo_error_set(err, SWO_E_INVALID, EEXIST, "map overlaps");
	if (!rc && fake->map_count == FAKE_MAPS_MAX)
		rc = swo_error_set(err, SWO_E_NO_MEMORY, ENOSPC, "too many maps");
	if (!rc)
		fake->maps[fake->map_count++] = (struct fake_map){iova, size, offset, fd};
	pthread_mutex_unlock(&fake->group->mutex);
	return rc;
}

static int dma_unmap(void *self, uint64_t iova, uint64_t size, struct swo_error *err)
{
	struct fake_device *fake = self;
	int rc = -1;

	pthread_mutex_lock(&fake->group->mutex);
	fake->unmap_calls++;
	for (unsigned i = 0; rc && i < fake->map_count; i++)
		if (fake->maps[i].iova == iova && fake->maps[i].size == size) {
			fake->maps[i] = fake->maps[--fake->map_count];
			rc = 0;
		}
	pthread_mutex_unlock(&fake->group->mutex);
	return rc ? swo_error_set(err, SWO_E_INVALID, ENOENT, "no such map") : 0;
}

static void destroy(void *self)
{
	struct fake_device *fake = self;

	pthread_mutex_lock(&fake->group->mutex);
	fake->destroyed = true;
	pthread_mutex_unlock(&fake->group->mutex);
}

static void lost(void *self)
{
	((struct fake_device *)self)->told_lost++;
}

const struct swo_device_ops fake_device_ops = {
	.size = sizeof(struct swo_device_ops),
	.name = "fake",
	.get_mig_flags = get_mig_flags,
	.get_state = get_state,
	.set_state = set_state,
	.data_read = data_read,
	.data_ask = data_ask,
	.data_write = data_write,
	.precopy_info = precopy_info,
	.data_size = data_size,
	.read_chunk = chunk,
	.write_chunk = chunk,
	.reset = reset,
	.dma_log_start = dma_log_start,
	.dma_log_stop = dma_log_stop,
	.dma_log_report = dma_log_report,
	.dma_map = dma_map,
	.dma_unmap = dma_unmap,
	.destroy = destroy,
	.lost = lost,
};

/* The test's side */

void fake_group_init(struct fake_group *group)
{
	*group = (struct fake_group){.want = 0};
	pthread_mutex_init(&group->mutex, NULL);
	swo_cond_init(&group->changed);
}

void fake_group_fini(struct fake_group *group)
{
	pthread_cond_destroy(&group->changed);
	pthread_mutex_destroy(&group->mutex);
}

void fake_device_init(struct fake_device *fake, const char *name, struct fake_group *group)
{
	memset(fake, 0, sizeof(*fake));
	snprintf(fake->name, sizeof(fake->name), "%s", name);
	fake->flags = FAKE_FLAGS_ALL;
	fake->state = SWO_DEVICE_RUNNING;
	fake->chunk = 48 << 10;
	fake->group = group ? group : &fake->own;
	if (!group)
		fake_group_init(&fake->own);
}

void fake_device_fini(struct fake_device *fake)
{
	if (fake->owns_state) {
		free(fake->loaded);
		free((void *)(uintptr_t)fake->saved);
	}
	if (fake->group == &fake->own)
		fake_group_fini(&fake->own);
}

bool fake_device_give_state(struct fake_device *fake, size_t size, uint8_t seed)
{
	uint8_t *bytes = malloc(size + 1);

	fake->loaded = malloc(size + 1);
	fake->saved = fake->expected = bytes;
	fake->owns_state = true;
	fake->size = size;
	if (!bytes || !fake->loaded)
		return false;
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(seed + i * 131 + (i >> 8));
	return true;
}

enum swo_device_state fake_state(struct fake_device *fake)
{
	pthread_mutex_lock(&fake->group->mutex);
	enum swo_device_state state = fake->state;

	pthread_mutex_unlock(&fake->group->mutex);
	return state;
}

void fake_script(struct fake_device *fake, enum swo_device_state from, enum swo_device_state to,
	enum fake_deed deed, int times)
{
	pthread_mutex_lock(&fake->group->mutex);
	fake->script[from][to] = (struct fake_script){deed, times};
	pthread_mutex_unlock(&fake->group->mutex);
}

bool fake_await_hang(struct fake_device *fake)
{
	swo_deadline guard = swo_deadline_ms(FAKE_GUARD_MS);

	pthread_mutex_lock(&fake->group->mutex);
	while (!fake->hanging && !swo_cond_wait(&fake->group->changed, &fake->group->mutex, guard))
		;
	bool hangs = fake->hanging == 1;

	pthread_mutex_unlock(&fake->group->mutex);
	return hangs;
}

void fake_release(struct fake_device *fake)
{
	pthread_mutex_lock(&fake->group->mutex);
	fake->released = true;
	pthread_cond_broadcast(&fake->group->changed);
	pthread_mutex_unlock(&fake->group->mutex);
}

bool fake_has_map(struct fake_device *fake, uint64_t iova, uint64_t size, int fd)
{
	bool found = false;

	pthread_mutex_lock(&fake->group->mutex);
	for (unsigned i = 0; i < fake->map_count; i++)
		found |= fake->maps[i].iova == iova && fake->maps[i].size == size &&
			 fake->maps[i].fd == fd;
	pthread_mutex_unlock(&fake->group->mutex);
	return found;
}
