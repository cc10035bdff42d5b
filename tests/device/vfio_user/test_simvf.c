/* SPDX-License-Identifier: BSD-3-Clause */
/* The client against real server processes: argv[1] is switchover-simvf. */
#include "device/vfio_user/proto.h"
#include "simvf/regs.h"
#include "switchover/device.h"
#include "tests/support/must.h"
#include "tests/support/simvf_process.h"

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define OPS	(&swo_vfio_user_ops)
#define RAM	0x40000u /* guest RAM: 64 pages at address 0 */
#define PAGE	4096u
#define P2P_GPA UINT64_C(0x80000000)

static const char *simvf_path;
static struct swo_error err;
static char dir[64];
static int ram_fd = -1;
static uint8_t *ram;

/* A server process and the client's end of it */

struct vf {
	pid_t pid;
	char socket[128];
	char report[128];
	void *dev;
};

static int ram_read(void *opaque, uint64_t addr, void *buf, size_t len)
{
	(void)opaque;
	memcpy(buf, ram + addr, len);
	return 0;
}

static int ram_write(void *opaque, uint64_t addr, const void *buf, size_t len)
{
	(void)opaque;
	memcpy(ram + addr, buf, len);
	return 0;
}

static void vf_start(struct vf *vf, const char *name, const char *option)
{
	static const struct swo_vfio_user_params params = {
		.size = sizeof(struct swo_vfio_user_params),
		.command_deadline_ms = 30000,
		.slow_deadline_ms = 60000,
		.dma_read = ram_read,
		.dma_write = ram_write};
	const char *const options[] = {"--report", vf->report, "--state-size", "4M",
		"--precopy-percent", "50", option, NULL};

	snprintf(vf->socket, sizeof(vf->socket), "%s/%s.sock", dir, name);
	snprintf(vf->report, sizeof(vf->report), "%s/%s.json", dir, name);
	vf->pid = simvf_process_start(simvf_path, vf->socket, options);
	MUST(swo_vfio_user_connect(name, vf->socket, &params, &vf->dev, &err));
}

/* Ends it; the caller removes its report. */
static json_t *vf_stop(struct vf *vf)
{
	int status;

	OPS->destroy(vf->dev);
	kill(vf->pid, SIGTERM);
	assert_int_equal(waitpid(vf->pid, &status, 0), vf->pid);
	assert_true(WIFEXITED(status));
	json_t *report = json_load_file(vf->report, 0, NULL);

	assert_non_null(report);
	unlink(vf->report);
	unlink(vf->socket);
	return report;
}

static long long figure(json_t *report, const char *key)
{
	json_t *value = json_object_get(report, key);

	if (!json_is_integer(value))
		fail_msg("the report has no '%s'", key);
	return json_integer_value(value);
}

static uint64_t peek(struct vf *vf, uint64_t reg)
{
	uint64_t value;

	MUST(OPS->region_read(vf->dev, SIMVF_BAR_REGS, reg, &value, sizeof(value), &err));
	return value;
}

static void poke(struct vf *vf, uint64_t reg, uint32_t value)
{
	MUST(OPS->region_write(vf->dev, SIMVF_BAR_REGS, reg, &value, sizeof(value), false, &err));
}

static void poke64(struct vf *vf, uint64_t reg, uint64_t value)
{
	MUST(OPS->region_write(vf->dev, SIMVF_BAR_REGS, reg, &value, sizeof(value), false, &err));
}

static void ring(struct vf *vf, uint64_t from, uint64_t to)
{
	for (uint64_t n = from; n <= to; n++)
		MUST(OPS->region_write(
			vf->dev, SIMVF_BAR_REGS, SIMVF_DOORBELL(0), &n, sizeof(n), true, &err));
}

static void wait_for(struct vf *vf, uint64_t reg, uint64_t least)
{
	swo_deadline limit = swo_deadline_ms(30000);

	while (peek(vf, reg) < least) {
		if (swo_deadline_passed(limit))
			fail_msg("register 0x%llx stays below %llu", (unsigned long long)reg,
				(unsigned long long)least);
		swo_sleep_until(swo_now_ns() + 1000000);
	}
}

static void start_dma(struct vf *vf, uint64_t addr, uint32_t pages)
{
	poke64(vf, SIMVF_REG_DMA_ADDR, addr);
	poke(vf, SIMVF_REG_DMA_PAGES, pages);
	poke(vf, SIMVF_REG_DMA_RATE, 5000);
	poke(vf, SIMVF_REG_CONTROL, SIMVF_CONTROL_DMA);
}

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/swo-simvf-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	ram_fd = memfd_create("ram", MFD_CLOEXEC);
	if (ftruncate(ram_fd, RAM))
		return -1;
	ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_SHARED, ram_fd, 0);
	return ram == MAP_FAILED ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	munmap(ram, RAM);
	swo_close_fd(&ram_fd);
	return rmdir(dir);
}

/* Migration */

/* Moves the data that the source has at present; returns its size. */
static size_t stream(struct vf *from, struct vf *to)
{
	size_t room = OPS->read_chunk(from->dev), got, sum = 0;
	uint8_t *buf = malloc(room);

	do {
		MUST(OPS->data_read(from->dev, buf, room, &got, &err));
		MUST(OPS->data_write(to->dev, buf, got, &err));
		sum += got;
	} while (got && sum < 64u << 20);
	free(buf);
	return sum;
}

static void set(struct vf *vf, enum swo_device_state state)
{
	enum swo_device_state now;

	MUST(OPS->set_state(vf->dev, state, &err));
	MUST(OPS->get_state(vf->dev, &now, &err));
	assert_int_equal(now, state);
}

static void a_device_moves_between_two_servers_with_its_complete_state(void **state)
{
	(void)state;
	struct vf a = {0}, b = {0};
	uint64_t flags, size;

	vf_start(&a, "a", NULL);
	vf_start(&b, "b", NULL);
	MUST(OPS->get_mig_flags(a.dev, &flags, &err));
	assert_int_equal(flags, SWO_MIG_STOP_COPY | SWO_MIG_P2P | SWO_MIG_PRE_COPY);
	assert_int_equal(OPS->write_chunk(b.dev), 1048576);
	MUST(OPS->data_size(a.dev, &size, &err));
	assert_in_range(size, 4u << 20, 5u << 20);
	MUST(OPS->dma_map(a.dev, 0, RAM, ram_fd, 0, ram, 3, &err));
	MUST(OPS->dma_map(b.dev, 0, RAM, ram_fd, 0, ram, 3, &err));
	start_dma(&a, 0x4000, 16);
	ring(&a, 1, 500);

	set(&b, SWO_DEVICE_RESUMING);
	set(&a, SWO_DEVICE_PRE_COPY);
	size_t before = stream(&a, &b);
	ring(&a, 501, 600);
	set(&a, SWO_DEVICE_PRE_COPY_P2P);
	set(&a, SWO_DEVICE_STOP_COPY);
	size_t after = stream(&a, &b);

	/* Even if read slowly: blocks dirtied meanwhile are sent again. */
	assert_in_range(before, 1u << 20, 80u << 20);
	assert_in_range(after, 1u << 20, 32u << 20);
	set(&b, SWO_DEVICE_STOP);
	set(&b, SWO_DEVICE_RUNNING_P2P);
	set(&b, SWO_DEVICE_RUNNING);
	ring(&b, 601, 700);
	uint64_t seq = peek(&b, SIMVF_REG_DMA_SEQ);

	/* Once around the ring: it finds the pages that the source wrote. */
	wait_for(&b, SIMVF_REG_DMA_SEQ, seq + 32);
	assert_int_equal(peek(&b, SIMVF_REG_DOORBELLS), 700);
	assert_int_equal(peek(&b, SIMVF_REG_LOST), 0);
	set(&a, SWO_DEVICE_STOP);
	json_t *source = vf_stop(&a), *target = vf_stop(&b);

	assert_int_equal(figure(target, "doorbells_lost"), 0);
	assert_int_equal(figure(target, "doorbells_repeated"), 0);
	assert_int_equal(figure(target, "state_mismatches"), 0);
	assert_int_equal(figure(target, "ram_mismatches"), 0);
	assert_int_equal(figure(target, "bytes_loaded"), (long long)(before + after));
	assert_int_equal(figure(source, "bytes_saved"), (long long)(before + after));
	assert_int_equal(figure(source, "quiesce_violations"), 0);
	json_decref(source);
	json_decref(target);
}

static void a_refused_state_is_an_error_of_the_arc(void **state)
{
	(void)state;
	struct vf b = {0};
	uint8_t junk[5000] = {1, 2, 3};

	vf_start(&b, "b", NULL);
	set(&b, SWO_DEVICE_RESUMING);
	if (!OPS->data_write(b.dev, junk, sizeof(junk), &err))
		assert_int_equal(OPS->set_state(b.dev, SWO_DEVICE_STOP, &err), -1);
	assert_int_equal(err.code, SWO_E_DEVICE);
	MUST(OPS->reset(b.dev, &err));
	enum swo_device_state now;
	MUST(OPS->get_state(b.dev, &now, &err));
	assert_int_equal(now, SWO_DEVICE_RUNNING);
	json_decref(vf_stop(&b));
}

/* DMA:
 */

static void the_log_has_what_was_written(const char *option, bool by_fd)
{
	struct vf a = {0};
	uint64_t page = PAGE, bits = 0;

	memset(ram, 0, RAM);
	vf_start(&a, "a", option);
	MUST(OPS->dma_map(a.dev, 0, RAM, by_fd ? ram_fd : -1, 0, ram, 3, &err));
	MUST(OPS->dma_log_start(a.dev, &page, NULL, 0, &err));
	assert_int_equal(page, PAGE);
	start_dma(&a, 0x5000, 7);
	wait_for(&a, SIMVF_REG_DMA_SEQ, 14);
	set(&a, SWO_DEVICE_STOP);
	MUST(OPS->dma_log_report(a.dev, 0, RAM, PAGE, &bits, &err));
	assert_int_equal(bits, 0x7full << 5);
	for (unsigned n = 0; n < RAM / PAGE; n++)
		assert_int_equal(ram[n * PAGE] || ram[n * PAGE + 16], bits >> n & 1);
	bits = 0;
	MUST(OPS->dma_log_report(a.dev, 0, RAM, PAGE, &bits, &err));
	assert_int_equal(bits, 0);
	MUST(OPS->dma_log_stop(a.dev, &err));
	MUST(OPS->dma_unmap(a.dev, 0, RAM, &err));
	json_t *report = vf_stop(&a);

	assert_int_equal(figure(report, "dma_errors"), 0);
	assert_int_equal(figure(report, "ram_mismatches"), 0);
	json_decref(report);
}

static void the_log_has_what_was_written_to_mapped_memory(void **state)
{
	(void)state;
	the_log_has_what_was_written(NULL, true);
}

static void the_log_has_what_was_written_by_message_on_the_twin(void **state)
{
	(void)state;
	the_log_has_what_was_written(NULL, false);
}

static void the_log_has_what_was_written_by_message_on_the_one_socket(void **state)
{
	(void)state;
	the_log_has_what_was_written("--no-twin-socket", false);
}

static void a_device_writes_into_its_siblings_mapped_bar(void **state)
{
	(void)state;
	struct vf a = {0}, b = {0};
	uint64_t offset, in_region, size;
	int fd;

	vf_start(&a, "a", NULL);
	vf_start(&b, "b", NULL);
	MUST(OPS->region_fd(b.dev, SIMVF_BAR_INBOX, &fd, &offset, &in_region, &size, &err));
	assert_int_equal(in_region, 0);
	assert_int_equal(size, SIMVF_BAR_INBOX_SIZE);
	MUST(OPS->dma_map(a.dev, P2P_GPA, size, fd, offset, NULL, 3, &err));
	poke64(&a, SIMVF_REG_P2P_ADDR, P2P_GPA + SIMVF_INBOX_SLOT(3));
	poke(&a, SIMVF_REG_P2P_RATE, 1000);
	poke(&a, SIMVF_REG_CONTROL, SIMVF_CONTROL_P2P);
	wait_for(&a, SIMVF_REG_P2P_SEQ, 5);
	set(&a, SWO_DEVICE_RUNNING_P2P);
	uint64_t sent = peek(&a, SIMVF_REG_P2P_SEQ), inbox;

	MUST(OPS->region_read(b.dev, SIMVF_BAR_INBOX, SIMVF_INBOX_SLOT(3), &inbox, 8, &err));
	assert_int_equal(inbox, sent);
	volatile uint64_t *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, (off_t)offset);
	assert_ptr_not_equal(map, MAP_FAILED);
	assert_int_equal(map[SIMVF_INBOX_SLOT(3) / 8], sent);
	munmap((void *)map, size);
	json_decref(vf_stop(&a));
	json_t *report = vf_stop(&b);

	assert_int_equal(figure(report, "p2p_received"), (long long)sent);
	assert_int_equal(figure(report, "p2p_violations"), 0);
	json_decref(report);
}

/* Interrupts:
 */

static void doorbells_raise_the_eventfds_they_should(void **state)
{
	(void)state;
	struct vf a = {0};
	int fds[SIMVF_MSIX_VECTORS];
	uint64_t count;

	vf_start(&a, "a", NULL);
	for (unsigned i = 0; i < SIMVF_MSIX_VECTORS; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	MUST(OPS->set_irqs(a.dev, VFIO_USER_PCI_MSIX, 0, fds, SIMVF_MSIX_VECTORS, &err));
	poke(&a, SIMVF_REG_IRQ_EVERY, 5);
	poke(&a, SIMVF_REG_CONTROL, SIMVF_CONTROL_IRQ);
	ring(&a, 1, 10);
	assert_int_equal(peek(&a, SIMVF_REG_IRQS), 2);
	assert_int_equal(read(fds[0], &count, sizeof(count)), sizeof(count));
	assert_int_equal(count, 2);
	/* Removed: no more interrupts. */
	MUST(OPS->set_irqs(a.dev, VFIO_USER_PCI_MSIX, 0, (int[]){-1}, 1, &err));
	ring(&a, 11, 20);
	assert_int_equal(peek(&a, SIMVF_REG_DOORBELLS), 20);
	assert_int_equal(read(fds[0], &count, sizeof(count)), -1);
	for (unsigned i = 0; i < SIMVF_MSIX_VECTORS; i++)
		close(fds[i]);
	json_decref(vf_stop(&a));
}

static void a_killed_server_is_lost_at_once(void **state)
{
	(void)state;
	struct vf a = {0};
	enum swo_device_state now;
	int status;

	vf_start(&a, "a", NULL);
	kill(a.pid, SIGKILL);
	assert_int_equal(waitpid(a.pid, &status, 0), a.pid);
	assert_int_equal(OPS->get_state(a.dev, &now, &err), -1);
	assert_int_equal(err.code, SWO_E_PEER_LOST);
	OPS->destroy(a.dev);
	unlink(a.socket);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CASE(a_device_moves_between_two_servers_with_its_complete_state),
		CASE(a_refused_state_is_an_error_of_the_arc),
		CASE(the_log_has_what_was_written_to_mapped_memory),
		CASE(the_log_has_what_was_written_by_message_on_the_twin),
		CASE(the_log_has_what_was_written_by_message_on_the_one_socket),
		CASE(a_device_writes_into_its_siblings_mapped_bar),
		CASE(doorbells_raise_the_eventfds_they_should),
		CASE(a_killed_server_is_lost_at_once),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s SWITCHOVER-SIMVF\n", argv[0]);
		return 1;
	}
	simvf_path = argv[1];
	return cmocka_run_group_tests_name("vfio_user_simvf", tests, NULL, NULL);
}
