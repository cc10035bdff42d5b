/* SPDX-License-Identifier: BSD-3-Clause */
/* The vfio-user backend against a well-behaved server: negotiation, regions, irqs, data, DMA. */
#include "fake.h"
#include "tests/support/must.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define OPS (&swo_vfio_user_ops)

static struct fake fake;
static void *dev;
static struct swo_error err;
static uint8_t guest[0x10000]; /* at 0x100000 */

static int guest_read(void *opaque, uint64_t addr, void *buf, size_t len)
{
	(void)opaque;
	memcpy(buf, guest + (addr - 0x100000), len);
	return 0;
}

static int guest_write(void *opaque, uint64_t addr, const void *buf, size_t len)
{
	(void)opaque;
	memcpy(guest + (addr - 0x100000), buf, len);
	return 0;
}

static struct swo_vfio_user_params params = {.size = sizeof(struct swo_vfio_user_params),
	.command_deadline_ms = 20000,
	.slow_deadline_ms = 20000,
	.dma_read = guest_read,
	.dma_write = guest_write};

static int setup(void **state)
{
	(void)state;
	fake_init(&fake);
	dev = NULL;
	memset(&err, 0, sizeof(err));
	memset(guest, 0, sizeof(guest));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (dev)
		OPS->destroy(dev);
	fake_stop(&fake);
	return 0;
}

static int try_connect(void)
{
	assert_int_equal(fake_start(&fake), 0);
	return swo_vfio_user_connect("vf0", fake.path, &params, &dev, &err);
}

/* Negotiation */

static void an_unknown_server_is_held_to_small_writes(void **state)
{
	(void)state;
	MUST(try_connect());
	assert_int_equal(OPS->write_chunk(dev), 32768);
	assert_int_equal(OPS->read_chunk(dev), 1048576);
	struct swo_region_info region;
	struct swo_irq_info irq;

	MUST(OPS->region_info(dev, 0, &region, &err));
	assert_int_equal(region.size, FAKE_BAR_SIZE);
	assert_int_equal(region.flags, 3);
	MUST(OPS->irq_info(dev, 2, &irq, &err));
	assert_int_equal(irq.count, FAKE_VECTORS);
	assert_int_equal(OPS->region_info(dev, 9, &region, &err), -1);
	assert_int_equal(err.code, SWO_E_INVALID);
	assert_int_equal(OPS->irq_info(dev, 5, &irq, &err), -1);
}

static void a_server_that_takes_large_writes_gets_them(void **state)
{
	(void)state;
	fake.caps.max_write = 1048576;
	MUST(try_connect());
	assert_int_equal(OPS->write_chunk(dev), 1048576);
}

static void the_smaller_transfer_limit_of_both_holds(void **state)
{
	(void)state;
	fake.caps.max_write = 1048576;
	fake.caps.max_data_xfer = 10000;
	MUST(try_connect());
	assert_int_equal(OPS->write_chunk(dev), 10000);
	assert_int_equal(OPS->read_chunk(dev), 10000);

	uint8_t *buf = calloc(1, FAKE_BAR_SIZE);
	MUST(OPS->region_read(dev, 0, 0, buf, 25000, &err));
	assert_int_equal(fake_count(&fake, VFIO_USER_REGION_READ), 3);
	free(buf);
}

static void older_versions_and_silence_are_tolerated(void **state)
{
	(void)state;
	fake.caps.minor = 0;
	fake.version_text = "{}";
	MUST(try_connect());
	assert_int_equal(OPS->read_chunk(dev), 1048576);
}

static void extra_capabilities_of_libvfio_user_are_tolerated(void **state)
{
	(void)state;
	fake.version_text = "{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":1048576,"
			    "\"migration\":{\"pgsize\":4096}}}";
	MUST(try_connect());
}

static void other_versions_are_refused(void **state)
{
	(void)state;
	fake.caps.major = 1;
	assert_int_equal(try_connect(), -1);
	assert_int_equal(err.code, SWO_E_UNSUPPORTED);
	assert_non_null(strstr(err.text, "device vf0"));
}

static void a_promised_twin_socket_must_be_there(void **state)
{
	(void)state;
	fake.version_text = "{\"capabilities\":{\"twin_socket\":{\"supported\":true,"
			    "\"fd_index\":0}}}";
	assert_int_equal(try_connect(), -1);
	assert_int_equal(err.code, SWO_E_PROTOCOL);
	assert_non_null(strstr(err.text, "twin"));
}

static void a_missing_server_is_reported_with_the_path(void **state)
{
	(void)state;
	assert_int_equal(fake_start(&fake), 0);
	assert_int_equal(
		swo_vfio_user_connect("vf0", "/nonexistent/vf0.sock", NULL, &dev, &err), -1);
	assert_int_equal(err.code, SWO_E_IO);
	assert_int_equal(err.os_errno, ENOENT);
	assert_non_null(strstr(err.text, "/nonexistent/vf0.sock"));
}

static void a_server_without_migration_is_unsupported(void **state)
{
	(void)state;
	uint64_t value;

	fake.mig_flags = 0;
	fake.has_data_size = fake.has_dma_log = false;
	MUST(try_connect());
	assert_int_equal(OPS->get_mig_flags(dev, &value, &err), -1);
	assert_int_equal(err.code, SWO_E_UNSUPPORTED);
	assert_int_equal(OPS->data_size(dev, &value, &err), -1);
	assert_int_equal(err.code, SWO_E_UNSUPPORTED);
	value = 4096;
	assert_int_equal(OPS->dma_log_start(dev, &value, NULL, 0, &err), -1);
	assert_int_equal(err.code, SWO_E_UNSUPPORTED);
}

static void flags_are_those_offered_and_supported(void **state)
{
	(void)state;
	uint64_t flags;

	fake.mig_flags = SWO_MIG_STOP_COPY | SWO_MIG_PRE_COPY | 0xf0;
	MUST(try_connect());
	MUST(OPS->get_mig_flags(dev, &flags, &err));
	assert_int_equal(flags, SWO_MIG_STOP_COPY | SWO_MIG_PRE_COPY);
}

static void precopy_can_be_discarded(void **state)
{
	(void)state;
	uint64_t flags;

	params.quirks = SWO_VFIO_USER_DISCARD_PRECOPY;
	int rc = try_connect();
	params.quirks = 0;
	MUST(rc);
	MUST(OPS->get_mig_flags(dev, &flags, &err));
	assert_int_equal(flags, SWO_MIG_STOP_COPY | SWO_MIG_P2P);
}

/* Regions and interrupts */

static void region_accesses_reach_the_device_and_posted_ones_in_order(void **state)
{
	(void)state;
	uint32_t value = 0x12345678, back = 0;

	MUST(try_connect());
	MUST(OPS->region_write(dev, 0, 0x100, &value, 4, false, &err));
	MUST(OPS->region_read(dev, 0, 0x100, &back, 4, &err));
	assert_int_equal(back, value);
	for (value = 1; value <= 100; value++)
		MUST(OPS->region_write(dev, 0, 0x200, &value, 4, true, &err));
	MUST(OPS->region_read(dev, 0, 0x200, &back, 4, &err));
	assert_int_equal(back, 100);
	assert_true(fake_nth(&fake, VFIO_USER_REGION_WRITE, 1).flags & VFIO_USER_NO_REPLY);

	/* Outside, and where the region forbids it. */
	unsigned before = fake_count(&fake, VFIO_USER_REGION_READ);
	assert_int_equal(OPS->region_read(dev, 0, FAKE_BAR_SIZE - 2, &back, 4, &err), -1);
	assert_int_equal(OPS->region_read(dev, 0, UINT64_MAX, &back, 4, &err), -1);
	assert_int_equal(OPS->region_write(dev, 1, 0, &back, 4, false, &err), -1);
	assert_int_equal(err.code, SWO_E_INVALID);
	assert_int_equal(fake_count(&fake, VFIO_USER_REGION_READ), before);
}

static void a_mappable_area_can_be_mapped(void **state)
{
	(void)state;
	int fd;
	uint64_t fd_offset, region_offset, size;

	fake.region_fd = memfd_create("bar2", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fake.region_fd, 0x4000), 0);
	assert_int_equal(pwrite(fake.region_fd, "area", 4, 0x2000), 4);
	MUST(try_connect());
	MUST(OPS->region_fd(dev, 2, &fd, &fd_offset, &region_offset, &size, &err));
	assert_int_equal(fd_offset, 0x2000);
	assert_int_equal(region_offset, 0x1000);
	assert_int_equal(size, 0x2000);
	char *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, (off_t)fd_offset);
	assert_ptr_not_equal(map, MAP_FAILED);
	assert_memory_equal(map, "area", 4);
	munmap(map, size);
	assert_int_equal(OPS->region_fd(dev, 0, &fd, &fd_offset, &region_offset, &size, &err), -1);
	assert_int_equal(err.code, SWO_E_UNSUPPORTED);
}

static void a_file_shorter_than_its_area_is_refused(void **state)
{
	(void)state;
	fake.region_fd = memfd_create("bar2", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fake.region_fd, 0x3fff), 0);
	assert_int_equal(try_connect(), -1);
	assert_int_equal(err.code, SWO_E_PROTOCOL);
	assert_non_null(strstr(err.text, "shorter"));
}

static void expect_set(unsigned n, uint32_t flags, uint32_t start, uint32_t count, unsigned fds)
{
	struct fake_log log = fake_nth(&fake, VFIO_USER_SET_IRQS, n);
	struct vfio_user_irq_set set;

	memcpy(&set, log.head, sizeof(set));
	assert_int_equal(set.index, VFIO_USER_PCI_MSIX);
	assert_int_equal(set.flags, flags | VFIO_USER_IRQ_ACTION_TRIGGER);
	assert_int_equal(set.start, start);
	assert_int_equal(set.count, count);
	assert_int_equal(log.fds, fds);
}

static void eventfds_go_in_slices_the_server_can_take(void **state)
{
	(void)state;
	int fds[8];

	fake.caps.max_msg_fds = 3;
	MUST(try_connect());
	for (unsigned i = 0; i < 8; i++)
		fds[i] = i == 4 ? -1 : eventfd(0, EFD_CLOEXEC);
	MUST(OPS->set_irqs(dev, VFIO_USER_PCI_MSIX, 2, fds, 8, &err));
	expect_set(0, VFIO_USER_IRQ_DATA_EVENTFD, 2, 3, 3);
	expect_set(1, VFIO_USER_IRQ_DATA_EVENTFD, 5, 1, 1);
	/* A vector in the middle: an unused eventfd replaces it. */
	expect_set(2, VFIO_USER_IRQ_DATA_EVENTFD, 6, 1, 1);
	expect_set(3, VFIO_USER_IRQ_DATA_EVENTFD, 7, 3, 3);
	assert_int_equal(fake_count(&fake, VFIO_USER_SET_IRQS), 4);
	MUST(OPS->set_irqs(dev, VFIO_USER_PCI_MSIX, 0, NULL, 0, &err));
	expect_set(4, VFIO_USER_IRQ_DATA_NONE, 0, 0, 0);
	assert_int_equal(OPS->set_irqs(dev, VFIO_USER_PCI_MSIX, 9, fds, 8, &err), -1);
	assert_int_equal(err.code, SWO_E_INVALID);
	for (unsigned i = 0; i < 8; i++)
		swo_close_fd(&fds[i]);
}

static void vectors_are_removed_directly_where_supported(void **state)
{
	(void)state;
	int none[3] = {-1, -1, -1};

	fake.caps.max_write = 1048576;
	MUST(try_connect());
	MUST(OPS->set_irqs(dev, VFIO_USER_PCI_MSIX, 5, none, 3, &err));
	expect_set(0, VFIO_USER_IRQ_DATA_EVENTFD, 5, 3, 0);
}

/* Migration:
 */

static void states_are_set_and_read_back(void **state)
{
	(void)state;
	enum swo_device_state now;

	MUST(try_connect());
	MUST(OPS->set_state(dev, SWO_DEVICE_PRE_COPY_P2P, &err));
	MUST(OPS->get_state(dev, &now, &err));
	assert_int_equal(now, SWO_DEVICE_PRE_COPY_P2P);
	/* A state that there is not is the server's to refuse. */
	MUST(OPS->set_state(dev, SWO_DEVICE_STATES, &err));
	assert_int_equal(fake.state, SWO_DEVICE_STATES);
	MUST(OPS->reset(dev, &err));
	assert_int_equal(fake_count(&fake, VFIO_USER_RESET), 1);
}

static bool refuse_set(struct fake *f, struct fake_message *m)
{
	uint32_t flags;

	memcpy(&flags, m->body + 4, 4);
	if (m->header.command != VFIO_USER_DEVICE_FEATURE ||
		flags != (VFIO_USER_FEATURE_SET | VFIO_USER_FEATURE_MIG_STATE))
		return false;
	fake_refuse(f, m, EBUSY);
	return true;
}

static void a_refusal_carries_the_servers_errno(void **state)
{
	(void)state;
	fake.hook = refuse_set;
	MUST(try_connect());
	assert_int_equal(OPS->set_state(dev, SWO_DEVICE_STOP, &err), -1);
	assert_int_equal(err.code, SWO_E_DEVICE);
	assert_int_equal(err.os_errno, EBUSY);
	assert_non_null(strstr(err.text, "device vf0"));
	assert_non_null(strstr(err.text, "MIG_DEVICE_STATE"));
}

static void fill(uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 31 + i / 251);
}

static void read_everything(bool pad)
{
	size_t len = 3 * 1048576 + 12345, done = 0, got = 1;
	uint8_t *data = malloc(len), *back = malloc(len + 2097152);

	fill(data, len);
	fake.data = data;
	fake.data_len = len;
	fake.pad = pad;
	MUST(try_connect());
	uint64_t size;
	MUST(OPS->data_size(dev, &size, &err));
	assert_int_equal(size, len);
	for (unsigned i = 0; got && i < 100; i++) {
		MUST(OPS->data_read(dev, back + done, 2097152, &got, &err));
		assert_in_range(got, 0, 1048576);
		done += got;
	}
	assert_int_equal(done, len);
	assert_memory_equal(back, data, len);
	free(data);
	free(back);
}

static void padded_reads_give_the_bytes_and_then_the_end(void **state)
{
	(void)state;
	read_everything(true);
}

static void exact_reads_give_the_bytes_and_then_the_end(void **state)
{
	(void)state;
	read_everything(false);
}

/* To a known server, whose device has this state. */
static void connect_stopped(uint8_t *data, size_t len)
{
	fill(data, len);
	fake.data = data;
	fake.data_len = len;
	fake.caps.max_write = 1048576;
	MUST(try_connect());
	MUST(OPS->set_state(dev, SWO_DEVICE_STOP_COPY, &err));
}

static void requested_reads_are_collected_in_order(void **state)
{
	(void)state;
	uint8_t data[5000], one[2000], two[2000], word[8];
	size_t got = 0;

	connect_stopped(data, sizeof(data));
	MUST(OPS->data_ask(dev, one, sizeof(one), &err));
	MUST(OPS->data_ask(dev, two, sizeof(two), &err));
	assert_int_equal(OPS->data_ask(dev, one, sizeof(one), &err), -1);
	assert_int_equal(err.code, SWO_E_INVALID);
	/* the others go on beside them */
	MUST(OPS->region_read(dev, 0, 0, word, sizeof(word), &err));
	assert_int_equal(OPS->data_read(dev, two, sizeof(two), &got, &err), -1);
	assert_int_equal(err.code, SWO_E_INVALID);
	MUST(OPS->data_read(dev, one, sizeof(one), &got, &err));
	assert_int_equal(got, sizeof(one));
	assert_memory_equal(one, data, sizeof(one));
	MUST(OPS->data_ask(dev, one, sizeof(one), &err));
	MUST(OPS->data_read(dev, two, sizeof(two), &got, &err));
	assert_memory_equal(two, data + 2000, sizeof(two));
	MUST(OPS->data_read(dev, one, sizeof(one), &got, &err));
	assert_int_equal(got, 1000);
	assert_memory_equal(one, data + 4000, 1000);
	/* and without a request */
	MUST(OPS->data_read(dev, two, sizeof(two), &got, &err));
	assert_int_equal(got, 0);
}

static void no_answer_comes_after_the_next_arc(void **state)
{
	(void)state;
	uint8_t data[5000], one[2000], two[2000];
	size_t got = 0;

	connect_stopped(data, sizeof(data));
	MUST(OPS->data_ask(dev, one, sizeof(one), &err));
	MUST(OPS->set_state(dev, SWO_DEVICE_STOP, &err));
	assert_memory_equal(one, data, sizeof(one)); /* it has come before that */
	MUST(OPS->data_read(dev, two, sizeof(two), &got, &err));
	assert_memory_equal(two, data + 2000, sizeof(two));
}

static void an_unknown_server_gets_no_early_requests(void **state)
{
	(void)state;
	uint8_t one[2000];

	MUST(try_connect());
	assert_int_equal(OPS->data_ask(dev, one, sizeof(one), &err), -1);
	assert_int_equal(err.code, SWO_E_UNSUPPORTED);
}

/* Resets the device before the GET of this number is answered. */
static unsigned gets, reset_before;

static bool reset_behind(struct fake *f, struct fake_message *m)
{
	uint32_t flags;

	if (m->header.command != VFIO_USER_DEVICE_FEATURE)
		return false;
	memcpy(&flags, m->body + 4, 4);
	if (flags == (VFIO_USER_FEATURE_GET | VFIO_USER_FEATURE_MIG_STATE) &&
		++gets == reset_before)
		f->state = SWO_DEVICE_RUNNING;
	return false;
}

static void an_arc_is_seen_from_before_and_after(void **state)
{
	static const enum swo_device_state expected[3][2] = {
		{SWO_DEVICE_RESUMING, SWO_DEVICE_STOP},
		{SWO_DEVICE_RUNNING, SWO_DEVICE_STOP},
		{SWO_DEVICE_RESUMING, SWO_DEVICE_RUNNING},
	};
	enum swo_device_state seen[2];

	(void)state;
	fake.caps.max_write = 1048576;
	fake.hook = reset_behind;
	MUST(try_connect());
	for (reset_before = 0; reset_before < 3; reset_before++) {
		MUST(OPS->set_state(dev, SWO_DEVICE_RESUMING, &err));
		gets = 0;
		MUST(OPS->set_state_seen(dev, SWO_DEVICE_STOP, seen, &err));
		assert_int_equal(gets, 2);
		assert_memory_equal(seen, expected[reset_before], sizeof(seen));
	}
}

static void an_arc_that_is_refused_fails_whatever_was_seen(void **state)
{
	enum swo_device_state seen[2];

	(void)state;
	fake.caps.max_write = 1048576;
	fake.hook = refuse_set;
	MUST(try_connect());
	FAILS(OPS->set_state_seen(dev, SWO_DEVICE_STOP, seen, &err), SWO_E_DEVICE);
	assert_int_equal(err.os_errno, EBUSY);
	assert_non_null(strstr(err.text, "SET MIG_DEVICE_STATE STOP"));
}

static void an_unknown_server_gets_one_request_at_a_time(void **state)
{
	enum swo_device_state seen[2];

	(void)state;
	MUST(try_connect());
	FAILS(OPS->set_state_seen(dev, SWO_DEVICE_STOP, seen, &err), SWO_E_UNSUPPORTED);
	assert_int_equal(fake.state, SWO_DEVICE_RUNNING);
}

static bool nothing_now(struct fake *f, struct fake_message *m)
{
	if (m->header.command != VFIO_USER_MIG_DATA_READ)
		return false;
	fake_refuse(f, m, ENOMSG);
	return true;
}

static void enomsg_means_no_data_for_now_in_pre_copy_and_an_error_otherwise(void **state)
{
	(void)state;
	uint8_t byte;
	size_t got = 1;

	fake.hook = nothing_now;
	fake.caps.max_write = 1048576;
	MUST(try_connect());
	MUST(OPS->set_state(dev, SWO_DEVICE_PRE_COPY, &err));
	MUST(OPS->data_read(dev, &byte, 1, &got, &err));
	assert_int_equal(got, 0);
	MUST(OPS->set_state(dev, SWO_DEVICE_STOP_COPY, &err));
	assert_int_equal(OPS->data_read(dev, &byte, 1, &got, &err), -1);
	assert_int_equal(err.os_errno, ENOMSG);
	/* also a requested one, and the next one is new */
	MUST(OPS->data_ask(dev, &byte, 1, &err));
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(OPS->data_read(dev, &byte, 1, &got, &err), -1);
		assert_int_equal(err.os_errno, ENOMSG);
	}
}

static void writes_arrive_in_order_in_chunks_the_server_takes(void **state)
{
	(void)state;
	size_t len = 1048576 + 777;
	uint8_t *data = malloc(len);

	fill(data, len);
	MUST(try_connect());
	MUST(OPS->set_state(dev, SWO_DEVICE_RESUMING, &err));
	MUST(OPS->data_write(dev, data, 500000, &err));
	MUST(OPS->data_write(dev, data + 500000, len - 500000, &err));
	/* The next arc comes after all acknowledgements. */
	MUST(OPS->set_state(dev, SWO_DEVICE_STOP, &err));
	assert_int_equal(fake.written.len, len);
	assert_memory_equal(fake.written.data, data, len);
	assert_int_equal(fake_nth(&fake, VFIO_USER_MIG_DATA_WRITE, 0).len, 32768 + 8);
	free(data);
}

/* Holds back replies of writes until four have come: a client that waits for each would hang. */
static bool hold_writes(struct fake *f, struct fake_message *m)
{
	static struct fake_message held[4];
	static unsigned n;

	if (m->header.command == VFIO_USER_VERSION)
		n = 0;
	if (m->header.command != VFIO_USER_MIG_DATA_WRITE)
		return false;
	held[n++] = *m;
	if (n < 4)
		return true;
	for (unsigned i = 0; i < 4; i++)
		fake_reply(f, &held[i], NULL, 0);
	n = 0;
	return true;
}

static void four_writes_are_in_flight_at_once(void **state)
{
	(void)state;
	uint8_t *data = calloc(8, 32768);

	fake.hook = hold_writes;
	MUST(try_connect());
	MUST(OPS->data_write(dev, data, 8 * 32768, &err));
	MUST(OPS->set_state(dev, SWO_DEVICE_STOP, &err));
	free(data);
}

static bool refuse_third_write(struct fake *f, struct fake_message *m)
{
	if (m->header.command != VFIO_USER_MIG_DATA_WRITE ||
		fake_count(f, VFIO_USER_MIG_DATA_WRITE) != 3)
		return false;
	fake_refuse(f, m, ENOSPC);
	return true;
}

static void a_refused_write_fails_the_next_call_at_the_latest(void **state)
{
	(void)state;
	uint8_t *data = calloc(3, 32768);

	fake.hook = refuse_third_write;
	MUST(try_connect());
	/* All three fit the window, so the refusal is seen by the arc: which must not happen. */
	if (!OPS->data_write(dev, data, 3 * 32768, &err))
		assert_int_equal(OPS->set_state(dev, SWO_DEVICE_STOP, &err), -1);
	assert_int_equal(err.code, SWO_E_DEVICE);
	assert_int_equal(err.os_errno, ENOSPC);
	assert_int_equal(fake.state, SWO_DEVICE_RUNNING);
	/* Reported once: recovery continues from here. */
	MUST(OPS->reset(dev, &err));
	MUST(OPS->set_state(dev, SWO_DEVICE_RUNNING, &err));
	free(data);
}

/* DMA */

static void maps_carry_one_fd_and_its_offset(void **state)
{
	(void)state;
	int fd = memfd_create("ram", MFD_CLOEXEC);

	MUST(try_connect());
	MUST(OPS->dma_map(dev, 0x100000, 0x10000, fd, 0x3000, NULL, 3, &err));
	struct fake_log log = fake_nth(&fake, VFIO_USER_DMA_MAP, 0);
	struct vfio_user_dma_map map;

	memcpy(&map, log.head, sizeof(map));
	assert_int_equal(log.fds, 1);
	assert_int_equal(map.argsz, 32);
	assert_int_equal(map.flags, 3);
	assert_int_equal(map.offset, 0x3000);
	assert_int_equal(map.address, 0x100000);
	assert_int_equal(map.size, 0x10000);
	assert_int_equal(OPS->dma_map(dev, 0x10f000, 0x2000, fd, 0, NULL, 3, &err), -1);
	assert_int_equal(err.code, SWO_E_INVALID);
	assert_int_equal(OPS->dma_map(dev, UINT64_MAX, 2, fd, 0, NULL, 3, &err), -1);
	assert_int_equal(OPS->dma_unmap(dev, 0x100000, 0x8000, &err), -1);
	MUST(OPS->dma_unmap(dev, 0x100000, 0x10000, &err));
	assert_int_equal(OPS->dma_unmap(dev, 0x100000, 0x10000, &err), -1);
	MUST(OPS->dma_map(dev, 0x10f000, 0x2000, fd, 0, NULL, 3, &err));
	close(fd);
}

static void many_maps_are_made_in_order_up_to_the_first_that_cannot_be(void **state)
{
	(void)state;
	struct swo_dma_map maps[20];
	struct vfio_user_dma_map sent;
	int fd = memfd_create("bar", MFD_CLOEXEC);

	for (unsigned i = 0; i < 20; i++)
		maps[i] = (struct swo_dma_map){0x100000 * (i + 1), 0x1000, fd, 0x1000 * i, 3};
	MUST(try_connect());
	MUST(OPS->dma_map_many(dev, maps, 20, &err));
	for (unsigned i = 0; i < 20; i++) {
		struct fake_log log = fake_nth(&fake, VFIO_USER_DMA_MAP, i);

		memcpy(&sent, log.head, sizeof(sent));
		assert_int_equal(log.fds, 1);
		assert_int_equal(sent.address, maps[i].iova);
		assert_int_equal(sent.offset, maps[i].offset);
	}
	for (unsigned i = 0; i < 20; i++)
		MUST(OPS->dma_unmap(dev, maps[i].iova, maps[i].size, &err));

	maps[2].iova = maps[1].iova;
	assert_int_equal(OPS->dma_map_many(dev, maps, 20, &err), -1);
	assert_int_equal(err.code, SWO_E_INVALID);
	assert_non_null(strstr(err.text, "overlaps"));
	MUST(OPS->dma_unmap(dev, maps[0].iova, maps[0].size, &err));
	MUST(OPS->dma_unmap(dev, maps[1].iova, maps[1].size, &err));
	assert_int_equal(OPS->dma_unmap(dev, maps[3].iova, maps[3].size, &err), -1);
	close(fd);
}

/* On SET STOP the server first reads and writes guest memory, on the socket it should. */
static int dma_results[8];

static bool dma_before_stop(struct fake *f, struct fake_message *m)
{
	int sock = f->twin >= 0 ? f->twin : f->sock;
	uint8_t bytes[16] = {0};

	if (m->header.command != VFIO_USER_RESET)
		return false;
	dma_results[0] = fake_dma(f, sock, false, 0x100010, bytes, 5);
	dma_results[1] = memcmp(bytes, "hello", 5);
	dma_results[2] = fake_dma(f, sock, true, 0x100020, (char *)"there", 5);
	dma_results[3] = fake_dma(f, sock, true, 0x10fffe, bytes, 4); /* over the end */
	dma_results[4] = fake_dma(f, sock, true, 0x200000, bytes, 4); /* read-only */
	dma_results[5] = fake_dma(f, sock, false, 0, bytes, 4);	      /* nothing there */
	dma_results[6] = fake_command(f, sock, 99, "what", 4, bytes, sizeof(bytes));
	dma_results[7] =
		fake_command(f, sock, VFIO_USER_DMA_WRITE, "short", 5, bytes, sizeof(bytes));
	fake_reply(f, m, NULL, 0);
	return true;
}

static void server_dma(bool twin)
{
	static const int expected[8] = {0, 0, 0, EFAULT, EFAULT, EFAULT, ENOTSUP, EINVAL};

	fake.caps.twin_socket = twin;
	fake.hook = dma_before_stop;
	memcpy(guest + 0x10, "hello", 5);
	MUST(try_connect());
	MUST(OPS->dma_map(dev, 0x100000, sizeof(guest), -1, 0, NULL, 3, &err));
	MUST(OPS->dma_map(dev, 0x200000, 0x1000, -1, 0, NULL, 1, &err));
	assert_int_equal(fake_nth(&fake, VFIO_USER_DMA_MAP, 0).fds, 0);
	MUST(OPS->reset(dev, &err));
	for (unsigned i = 0; i < 8; i++)
		if (dma_results[i] != expected[i])
			fail_msg("access %u gave %d", i, dma_results[i]);
	assert_memory_equal(guest + 0x20, "there", 5);
}

static void the_server_reaches_guest_memory_while_its_reply_is_awaited(void **state)
{
	(void)state;
	server_dma(false);
}

static void the_server_reaches_guest_memory_by_the_twin_socket(void **state)
{
	(void)state;
	server_dma(true);
}

/* After a posted write no thread waits for a reply: the service thread must poll. */
static bool dma_is_over;

static bool dma_after_doorbell(struct fake *f, struct fake_message *m)
{
	if (m->header.command != VFIO_USER_REGION_WRITE)
		return false;
	uint64_t big = 1048576;
	uint8_t *bytes = calloc(1, big);

	dma_results[0] = fake_dma(f, f->sock, true, 0x100000, (char *)"ding", 4);
	dma_results[1] = fake_dma(f, f->sock, false, 0x400000, bytes, big);
	free(bytes);
	__atomic_store_n(&dma_is_over, true, __ATOMIC_RELEASE);
	return true;
}

static void messages_of_the_server_are_read_without_a_waiter(void **state)
{
	(void)state;
	uint32_t value = 1;

	fake.hook = dma_after_doorbell;
	dma_results[0] = dma_results[1] = -1;
	dma_is_over = false;
	MUST(try_connect());
	MUST(OPS->dma_map(dev, 0x100000, sizeof(guest), -1, 0, NULL, 3, &err));
	MUST(OPS->region_write(dev, 0, 0, &value, 4, true, &err));
	swo_deadline limit = swo_deadline_ms(20000);
	while (!__atomic_load_n(&dma_is_over, __ATOMIC_ACQUIRE) && !swo_deadline_passed(limit))
		swo_sleep_until(swo_now_ns() + 1000000);
	assert_int_equal(dma_results[0], 0);
	assert_int_equal(dma_results[1], EFAULT);
	assert_memory_equal(guest, "ding", 4);
}

/* DMA log */

static void expect_report(unsigned n, uint64_t iova, uint64_t length, uint64_t page)
{
	unsigned seen = 0;

	for (unsigned i = 0; i < fake_count(&fake, VFIO_USER_DEVICE_FEATURE); i++) {
		struct fake_log log = fake_nth(&fake, VFIO_USER_DEVICE_FEATURE, i);
		uint32_t flags;
		struct vfio_user_log_report ask;

		memcpy(&flags, log.head + 4, 4);
		memcpy(&ask, log.head + 8, sizeof(ask));
		if ((flags & 0xffff) != VFIO_USER_FEATURE_DMA_LOG_REPORT || seen++ != n)
			continue;
		assert_int_equal(ask.iova, iova);
		assert_int_equal(ask.length, length);
		assert_int_equal(ask.page_size, page);
		return;
	}
	fail_msg("there was no report %u", n);
}

static void start_log(uint64_t page, uint64_t expected)
{
	int fd = memfd_create("ram", MFD_CLOEXEC);

	MUST(try_connect());
	MUST(OPS->dma_map(dev, 0x100000, 0x80000, fd, 0, NULL, 3, &err));
	MUST(OPS->dma_map(dev, 0x180000, 0x10000, fd, 0, NULL, 3, &err));
	close(fd);
	MUST(OPS->dma_log_start(dev, &page, NULL, 0, &err));
	assert_int_equal(page, expected);
}

static void reports_start_at_a_maps_base_and_keep_the_unrequested_part(void **state)
{
	(void)state;
	uint64_t bits[2] = {0};

	start_log(4096, 4096);
	/* Pages 1, 70 and 100 of the first map; the caller wants the second half only. */
	fake.dirty_words[0] = 2;
	fake.dirty_words[1] = UINT64_C(1) << 6 | UINT64_C(1) << 36;
	MUST(OPS->dma_log_report(dev, 0x140000, 0x40000, 4096, bits, &err));
	expect_report(0, 0x100000, 0x80000, 4096);
	assert_int_equal(bits[0], UINT64_C(1) << 6 | UINT64_C(1) << 36);
	bits[0] = 0;
	MUST(OPS->dma_log_report(dev, 0x100000, 0x40000, 4096, bits, &err));
	expect_report(1, 0x100000, 0x40000, 4096);
	assert_int_equal(bits[0], 2);
	bits[0] = 0;
	MUST(OPS->dma_log_report(dev, 0x100000, 0x80000, 4096, bits, &err));
	assert_int_equal(bits[0] | bits[1], 0);
	MUST(OPS->dma_log_stop(dev, &err));
	assert_int_equal(OPS->dma_log_report(dev, 0x100000, 0x80000, 4096, bits, &err), -1);
	assert_int_equal(err.code, SWO_E_STATE);
}

static void a_report_over_two_maps_requests_each(void **state)
{
	(void)state;
	uint64_t bits[3] = {0};

	start_log(4096, 4096);
	fake.dirty_words[1] = 1; /* sent with the first reply, for any map */
	MUST(OPS->dma_log_report(dev, 0x17f000, 0x3000, 4096, bits, &err));
	assert_int_equal(bits[0], 0);
	expect_report(0, 0x180000, 0x2000, 4096);
	expect_report(1, 0x100000, 0x80000, 4096);
	assert_int_equal(OPS->dma_log_report(dev, 0x100000, 0x1000, 8192, bits, &err), -1);
	assert_int_equal(err.code, SWO_E_INVALID);
}

static void a_known_server_gets_a_request_for_the_exact_range(void **state)
{
	(void)state;
	uint64_t bits = 0;

	fake.caps.max_write = 1048576;
	start_log(4096, 4096);
	fake.dirty_words[0] = 5;
	MUST(OPS->dma_log_report(dev, 0x140000, 0x10000, 4096, &bits, &err));
	expect_report(0, 0x140000, 0x10000, 4096);
	assert_int_equal(bits, 5);
}

static void every_bit_of_a_long_report_is_reported_once(void **state)
{
	(void)state;
	static const uint64_t dirty[2] = {UINT64_C(1) << 63 | 1, UINT64_C(1) << 35 | 4};
	uint64_t bits[2] = {0, 2}, none[2] = {0};

	fake.caps.max_write = 1048576;
	start_log(4096, 4096);
	memcpy(fake.dirty_words, dirty, sizeof(dirty));
	MUST(OPS->dma_log_report(dev, 0x100000, 100 * 4096, 4096, bits, &err));
	assert_int_equal(bits[0], dirty[0]);
	assert_int_equal(bits[1], dirty[1] | 2); /* what was there stays */
	MUST(OPS->dma_log_report(dev, 0x100000, 100 * 4096, 4096, none, &err));
	assert_int_equal(none[0] | none[1], 0);
	/* and from a page on at which no word begins */
	memcpy(fake.dirty_words, dirty, sizeof(dirty));
	MUST(OPS->dma_log_report(dev, 0x101000, 100 * 4096, 4096, none, &err));
	assert_int_equal(none[0], dirty[0]);
	assert_int_equal(none[1], dirty[1]);
}

static void bend_no_bitmap(
	struct fake *f, const struct fake_message *m, uint8_t *reply, size_t *len)
{
	struct vfio_user_header *header = (struct vfio_user_header *)reply;
	uint32_t flags;

	(void)f;
	memcpy(&flags, m->body + 4, 4);
	if (m->header.command == VFIO_USER_DEVICE_FEATURE &&
		(flags & 0xffff) == VFIO_USER_FEATURE_DMA_LOG_REPORT)
		*len = header->size = 16 + 32;
}

static void success_without_a_bitmap_means_all_is_dirty(void **state)
{
	(void)state;
	uint64_t bits = 0;

	fake.bend = bend_no_bitmap;
	start_log(4096, 4096);
	MUST(OPS->dma_log_report(dev, 0x17e000, 0x4000, 4096, &bits, &err));
	assert_int_equal(bits, 0xf);
}

static void a_page_size_of_the_servers_choice_makes_all_dirty_once(void **state)
{
	(void)state;
	uint64_t bits = 0;

	fake.log_page = 65536;
	start_log(4096, 65536);
	MUST(OPS->dma_log_report(dev, 0x100000, 0x90000, 65536, &bits, &err));
	assert_int_equal(bits, 0x1ff);
	bits = 0;
	MUST(OPS->dma_log_report(dev, 0x100000, 0x90000, 65536, &bits, &err));
	assert_int_equal(bits, 0);
}

static void an_odd_page_size_is_refused(void **state)
{
	(void)state;
	uint64_t page = 4096;

	fake.log_page = 4097;
	MUST(try_connect());
	assert_int_equal(OPS->dma_log_start(dev, &page, NULL, 0, &err), -1);
	assert_int_equal(err.code, SWO_E_PROTOCOL);
}

static bool dma_on_reset(struct fake *f, struct fake_message *m)
{
	if (m->header.command != VFIO_USER_RESET)
		return false;
	dma_results[0] = fake_dma(f, f->sock, true, 0x102ffe, (char *)"log!", 4);
	fake_reply(f, m, NULL, 0);
	return true;
}

static void dma_write_messages_are_in_the_log(void **state)
{
	(void)state;
	uint64_t bits = 0, page = 4096;

	fake.hook = dma_on_reset;
	MUST(try_connect());
	MUST(OPS->dma_map(dev, 0x100000, 0x10000, -1, 0, NULL, 3, &err));
	MUST(OPS->dma_log_start(dev, &page, NULL, 0, &err));
	MUST(OPS->reset(dev, &err));
	assert_int_equal(dma_results[0], 0);
	/* The server cannot log them: no report is requested for such a map. */
	MUST(OPS->dma_log_report(dev, 0x100000, 0x10000, 4096, &bits, &err));
	assert_int_equal(bits, 0xc);
	MUST(OPS->dma_log_report(dev, 0x100000, 0x10000, 4096, &bits, &err));
	assert_int_equal(bits, 0xc);
	bits = 0;
	MUST(OPS->dma_log_report(dev, 0x100000, 0x10000, 4096, &bits, &err));
	assert_int_equal(bits, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(an_unknown_server_is_held_to_small_writes),
		CASE(a_server_that_takes_large_writes_gets_them),
		CASE(the_smaller_transfer_limit_of_both_holds),
		CASE(older_versions_and_silence_are_tolerated),
		CASE(extra_capabilities_of_libvfio_user_are_tolerated),
		CASE(other_versions_are_refused),
		CASE(a_promised_twin_socket_must_be_there),
		CASE(a_missing_server_is_reported_with_the_path),
		CASE(a_server_without_migration_is_unsupported),
		CASE(flags_are_those_offered_and_supported),
		CASE(precopy_can_be_discarded),
		CASE(region_accesses_reach_the_device_and_posted_ones_in_order),
		CASE(a_mappable_area_can_be_mapped),
		CASE(a_file_shorter_than_its_area_is_refused),
		CASE(eventfds_go_in_slices_the_server_can_take),
		CASE(vectors_are_removed_directly_where_supported),
		CASE(states_are_set_and_read_back),
		CASE(a_refusal_carries_the_servers_errno),
		CASE(padded_reads_give_the_bytes_and_then_the_end),
		CASE(exact_reads_give_the_bytes_and_then_the_end),
		CASE(requested_reads_are_collected_in_order),
		CASE(no_answer_comes_after_the_next_arc),
		CASE(an_unknown_server_gets_no_early_requests),
		CASE(an_arc_is_seen_from_before_and_after),
		CASE(an_arc_that_is_refused_fails_whatever_was_seen),
		CASE(an_unknown_server_gets_one_request_at_a_time),
		CASE(enomsg_means_no_data_for_now_in_pre_copy_and_an_error_otherwise),
		CASE(writes_arrive_in_order_in_chunks_the_server_takes),
		CASE(four_writes_are_in_flight_at_once),
		CASE(a_refused_write_fails_the_next_call_at_the_latest),
		CASE(maps_carry_one_fd_and_its_offset),
		CASE(many_maps_are_made_in_order_up_to_the_first_that_cannot_be),
		CASE(the_server_reaches_guest_memory_while_its_reply_is_awaited),
		CASE(the_server_reaches_guest_memory_by_the_twin_socket),
		CASE(messages_of_the_server_are_read_without_a_waiter),
		CASE(reports_start_at_a_maps_base_and_keep_the_unrequested_part),
		CASE(a_report_over_two_maps_requests_each),
		CASE(a_known_server_gets_a_request_for_the_exact_range),
		CASE(every_bit_of_a_long_report_is_reported_once),
		CASE(success_without_a_bitmap_means_all_is_dirty),
		CASE(a_page_size_of_the_servers_choice_makes_all_dirty_once),
		CASE(an_odd_page_size_is_refused),
		CASE(dma_write_messages_are_in_the_log),
	};

	return cmocka_run_group_tests_name("vfio_user_backend", tests, NULL, NULL);
}
