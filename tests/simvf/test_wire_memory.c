/* SPDX-License-Identifier: BSD-3-Clause */
/* The server and memory: DMA by maps and by messages, its log, the siblings' BARs, shared PFs. */
#include "wire.h"

static void start_dma(struct client *c, uint64_t address, unsigned pages, unsigned rate)
{
	wire_set(c, SIMVF_REG_DMA_ADDR, address, 8);
	wire_set(c, SIMVF_REG_DMA_PAGES, pages, 4);
	wire_set(c, SIMVF_REG_DMA_RATE, rate, 4);
	wire_set(c, SIMVF_REG_CONTROL, SIMVF_CONTROL_DMA, 4);
}

static void dma_goes_through_a_mapped_fd_and_into_the_log(void **state)
{
	(void)state;
	struct server s = wire_start("dma", "--seed", "7", NULL);
	struct client c = wire_connect(&s, false);
	int fd = memfd_create("ram", MFD_CLOEXEC), other = memfd_create("other", MFD_CLOEXEC);
	struct vfio_user_log_start start = {.page_size = 65536};
	struct vfio_user_log_report report = {
		.iova = 0x100000, .length = 16 * 4096, .page_size = 4096};
	struct vfio_user_dma_unmap unmap = {
		.argsz = sizeof(unmap), .address = 0x100000, .size = 16 * 4096};
	uint64_t *ram, bits, page_size;

	assert_int_equal(ftruncate(fd, 16 * 4096), 0);
	ram = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_int_equal(wire_map(&c, 0x100000, 32 * 4096, fd), EINVAL); /* longer than the file */
	assert_int_equal(wire_map(&c, 0x100000, 16 * 4096, fd), 0);
	assert_int_equal(wire_map(&c, 0x100000, 16 * 4096, fd), 0);
	assert_int_equal(wire_map(&c, 0x101000, 4096, fd), EEXIST);
	assert_int_equal(ftruncate(other, 16 * 4096), 0);
	assert_int_equal(wire_map(&c, 0x100000, 16 * 4096, other), EEXIST);
	assert_int_equal(wire_map(&c, 0x100000, 16 * 4096, -1), EEXIST);
	close(other);
	assert_int_equal(wire_feature(&c, VFIO_USER_FEATURE_SET | VFIO_USER_FEATURE_DMA_LOG_START,
				 &start, sizeof(start), sizeof(start)),
		0);
	memcpy(&page_size, c.reply + 8, 8);
	assert_int_equal(page_size, 4096);
	start_dma(&c, 0x101000, 4, 2000);
	while (wire_get(&c, SIMVF_REG_DMA_SEQ, 8) < 10)
		usleep(1000);
	wire_set(&c, SIMVF_REG_CONTROL, 0, 4);
	for (unsigned page = 0; page < 4; page++) {
		uint64_t *words = ram + 512 * (page + 1), n = words[0] - 1;

		assert_int_equal(n % 4, page);
		assert_int_equal(words[1], 7);
		assert_true(words[511] == SIMVF_DMA_WORD(7, n, 511));
	}
	assert_int_equal(wire_feature(&c, VFIO_USER_FEATURE_GET | VFIO_USER_FEATURE_DMA_LOG_REPORT,
				 &report, sizeof(report), sizeof(report)),
		0);
	assert_int_equal(c.len, 32); /* no space for the bitmap: the log is kept */
	for (unsigned times = 0; times < 2; times++) {
		assert_int_equal(
			wire_feature(&c, VFIO_USER_FEATURE_GET | VFIO_USER_FEATURE_DMA_LOG_REPORT,
				&report, sizeof(report), sizeof(report) + 8),
			0);
		assert_int_equal(c.len, 40);
		memcpy(&bits, c.reply + 32, 8);
		assert_int_equal(bits, times ? 0 : 0x1e);
	}
	assert_int_equal(wire_ask(&c, VFIO_USER_DMA_UNMAP, &unmap, sizeof(unmap)), 0);
	assert_int_equal(wire_ask(&c, VFIO_USER_DMA_UNMAP, &unmap, sizeof(unmap)), ENOENT);
	assert_int_equal(wire_counter(&s, "ram_mismatches"), 0);
	munmap(ram, 16 * 4096);
	close(fd);
	wire_close(&c);
	wire_stop(&s);
}

static void a_file_cut_off_under_its_map_fails_the_access_not_the_server(void **state)
{
	(void)state;
	struct server s = wire_start("cut", NULL);
	struct client c = wire_connect(&s, false);
	int fd = memfd_create("ram", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(wire_map(&c, 0x100000, 4096, fd), 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	start_dma(&c, 0x100000, 1, 1000);
	while (wire_get(&c, SIMVF_REG_DMA_SEQ, 8) < 3)
		usleep(1000);
	assert_true(wire_counter(&s, "dma_errors") >= 3);
	close(fd);
	wire_close(&c);
	wire_stop(&s);
}

/* Replies to one DMA message on `fd` from `ram`, which starts at 0x100000. */
static void serve_dma(int fd, struct vfio_user_header *header, uint8_t *body, uint8_t *ram)
{
	struct vfio_user_dma_access access;
	struct iovec pieces[3] = {{0}, {&access, sizeof(access)}, {0}};
	struct vfio_user_header reply;
	bool read = header->command == VFIO_USER_DMA_READ;

	memcpy(&access, body, sizeof(access));
	assert_in_range(access.address, 0x100000, 0x104000 - access.count);
	if (!read)
		memcpy(ram + access.address - 0x100000, body + sizeof(access), access.count);
	reply = vfio_user_reply_header(header, sizeof(access) + (read ? access.count : 0), 0);
	pieces[0] = (struct iovec){&reply, sizeof(reply)};
	pieces[2] = (struct iovec){ram + access.address - 0x100000, access.count};
	assert_int_equal(vfio_user_send(fd, pieces, read ? 3 : 2, NULL, 0, soon(), NULL, NULL), 0);
}

static uint64_t length_of(const uint8_t *body)
{
	struct vfio_user_dma_access access;

	memcpy(&access, body, sizeof(access));
	return access.count;
}

/* Without a reply to the last register, between which and DMA messages the client may choose. */
static void start_dma_by_messages(struct client *c, unsigned pages)
{
	wire_set(c, SIMVF_REG_DMA_ADDR, 0x100000, 8);
	wire_set(c, SIMVF_REG_DMA_PAGES, pages, 4);
	wire_set(c, SIMVF_REG_DMA_RATE, 1000, 4);
	wire_send(c, VFIO_USER_REGION_WRITE, "\x08\0\0\0\0\0\0\0\0\0\0\0\4\0\0\0\1\0\0\0", 20, true,
		NULL, 0);
}

static void dma_by_messages(bool twin)
{
	struct server s = wire_start(twin ? "twin" : "main", "--seed", "9", NULL);
	struct client c = wire_connect(&s, twin);
	int fd = twin ? c.twin : c.fd;
	uint8_t ram[4 * 4096] = {0}, body[8192];
	struct vfio_user_header header;
	unsigned served = 0, most = twin ? 4096 : 512; /* as negotiated */

	assert_int_equal(wire_map(&c, 0x100000, sizeof(ram), -1), 0);
	start_dma_by_messages(&c, 2);
	while (served < 2 * 4096 / most * 5) {
		assert_int_equal(
			vfio_user_recv(fd, &header, body, sizeof(body), NULL, soon(), NULL), 0);
		if (vfio_user_is_reply(&header)) /* to the access below, which went first */
			continue;
		assert_in_range(length_of(body), 1, most);
		serve_dma(fd, &header, body, ram);
		served++;
		if (served == 5) /* a doorbell between DMA messages, which must be queued */
			wire_doorbell(&c, 0, 1);
	}
	assert_int_equal(((uint64_t *)ram)[1], 9);
	assert_int_equal(((uint64_t *)ram)[512 + 1], 9);
	close(fd);
	if (twin)
		c.twin = -1;
	else
		c.fd = -1;
	assert_int_equal(wire_counter(&s, "ram_mismatches"), 0);
	wire_close(&c);
	wire_stop(&s);
}

static void dma_goes_by_messages_over_the_twin_socket(void **state)
{
	(void)state;
	dma_by_messages(true);
}

static void dma_goes_by_messages_between_commands_without_a_twin(void **state)
{
	(void)state;
	dma_by_messages(false);
}

/* As QEMU: what answers DMA messages waits until the access to a region has its reply. */
static void an_access_is_answered_while_the_device_waits_for_dma(void **state)
{
	(void)state;
	struct server s = wire_start("first", "--seed", "9", NULL);
	struct client c = wire_connect(&s, false);
	uint8_t ram[4 * 4096] = {0}, held[8192], body[8192];
	struct vfio_user_header message, reply;
	const struct vfio_user_region_access access = {
		.offset = SIMVF_REG_ID, .region = SIMVF_BAR_REGS, .count = 4};
	struct vfio_user_dma_unmap unmap = {
		.argsz = sizeof(unmap), .address = 0x200000, .size = 4096};

	assert_int_equal(wire_map(&c, 0x100000, sizeof(ram), -1), 0);
	assert_int_equal(wire_map(&c, 0x200000, 4096, -1), 0);
	start_dma_by_messages(&c, 4);
	for (unsigned n = 0; n < 20; n++) {
		bool maps = n == 7;
		int rc = vfio_user_recv(c.fd, &message, held, sizeof(held), NULL, soon(), NULL);
		assert_int_equal(rc, 0);
		assert_false(vfio_user_is_reply(&message));
		wire_send(&c, maps ? VFIO_USER_DMA_UNMAP : VFIO_USER_REGION_READ,
			maps ? (const void *)&unmap : &access,
			maps ? sizeof(unmap) : sizeof(access), false, NULL, 0);
		rc = vfio_user_recv(c.fd, &reply, body, sizeof(body), NULL, soon(), NULL);
		assert_int_equal(rc, 0);
		assert_true(vfio_user_is_reply(&reply));
		assert_int_equal(reply.id, c.id);
		assert_int_equal(reply.flags & VFIO_USER_ERROR, 0);
		if (n == 19) /* the last, for the control socket to answer in time */
			wire_set(&c, SIMVF_REG_CONTROL, 0, 4);
		serve_dma(c.fd, &message, held, ram);
	}
	while (vfio_user_recv(
		       c.fd, &message, held, sizeof(held), NULL, swo_deadline_ms(100), NULL) == 0)
		serve_dma(c.fd, &message, held, ram); /* the rest of its page */
	assert_int_equal(wire_counter(&s, "dma_errors"), 0);
	wire_close(&c);
	wire_stop(&s);
}

static void a_late_answer_to_a_dma_message_is_dropped(void **state)
{
	(void)state;
	struct server s = wire_start("late", "--seed", "9", NULL);
	struct client c = wire_connect(&s, false);
	uint8_t ram[4 * 4096] = {0}, held[8192];
	struct vfio_user_header message;

	assert_int_equal(wire_map(&c, 0x100000, sizeof(ram), -1), 0);
	start_dma_by_messages(&c, 4);
	assert_int_equal(vfio_user_recv(c.fd, &message, held, sizeof(held), NULL, soon(), NULL), 0);
	while (!wire_counter(&s, "dma_errors"))
		usleep(10000);
	serve_dma(c.fd, &message, held, ram);
	/* The rest of that page, and all others, are given up one after the other: stop first. */
	wire_send(&c, VFIO_USER_REGION_WRITE, "\x08\0\0\0\0\0\0\0\0\0\0\0\4\0\0\0\0\0\0\0", 20,
		true, NULL, 0);
	wire_send(&c, VFIO_USER_GET_INFO, &(struct vfio_user_device_info){.argsz = 16}, 16, false,
		NULL, 0);
	do {
		assert_int_equal(
			vfio_user_recv(c.fd, &message, held, sizeof(held), NULL, soon(), NULL), 0);
	} while (!vfio_user_is_reply(&message));
	assert_int_equal(message.id, c.id);
	wire_close(&c);
	wire_stop(&s);
}

/* Two servers of one thread each, and a client that relays: no side waits for ever. */
static void p2p_goes_by_messages_where_the_client_passes_no_descriptor(void **state)
{
	(void)state;
	struct server a = wire_start("msg-a", NULL), b = wire_start("msg-b", NULL);
	struct client one = wire_connect(&a, true), two = wire_connect(&b, true);
	struct client *from[] = {&one, &two};
	struct vfio_user_header header;
	uint8_t body[64];

	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(wire_map(from[i], 0xf0000000, 4096, -1), 0);
		wire_set(from[i], SIMVF_REG_P2P_ADDR, 0xf0000000 + SIMVF_INBOX_SLOT(2), 8);
		wire_set(from[i], SIMVF_REG_P2P_RATE, 100, 4);
		wire_set(from[i], SIMVF_REG_CONTROL, SIMVF_CONTROL_P2P, 4);
	}
	for (unsigned n = 0; n < 40; n++) {
		struct client *to = from[1 - n % 2];
		int twin = from[n % 2]->twin;
		struct vfio_user_dma_access access;
		struct vfio_user_header reply;
		const struct iovec pieces[] = {{&reply, sizeof(reply)}, {&access, sizeof(access)}};

		assert_int_equal(
			vfio_user_recv(twin, &header, body, sizeof(body), NULL, soon(), NULL), 0);
		assert_int_equal(header.command, VFIO_USER_DMA_WRITE);
		memcpy(&access, body, sizeof(access));
		assert_int_equal(access.count, 8);
		assert_int_equal(wire_region_write(to, SIMVF_BAR_INBOX, access.address - 0xf0000000,
					 body + sizeof(access), 8),
			0);
		reply = vfio_user_reply_header(&header, sizeof(access), 0);
		assert_int_equal(vfio_user_send(twin, pieces, 2, NULL, 0, soon(), NULL, NULL), 0);
	}
	wire_close(&one);
	wire_close(&two);
	assert_true(wire_counter(&a, "p2p_received") >= 19);
	assert_true(wire_counter(&b, "p2p_received") >= 19);
	wire_stop(&a);
	wire_stop(&b);
}

static void p2p_goes_through_the_siblings_mapped_bar(void **state)
{
	(void)state;
	struct server a = wire_start("p2p-a", NULL), b = wire_start("p2p-b", NULL);
	struct client from = wire_connect(&a, false), to = wire_connect(&b, false);
	struct vfio_user_region_info region = {.argsz = 64, .index = SIMVF_BAR_INBOX};

	assert_int_equal(wire_ask(&to, VFIO_USER_GET_REGION_INFO, &region, sizeof(region)), 0);
	assert_int_equal(wire_map(&from, 0xf0000000, 4096, to.fds.fd[0]), 0);
	wire_set(&from, SIMVF_REG_P2P_ADDR, 0xf0000000 + SIMVF_INBOX_SLOT(2), 8);
	wire_set(&from, SIMVF_REG_P2P_RATE, 2000, 4);
	wire_set(&from, SIMVF_REG_CONTROL, SIMVF_CONTROL_P2P, 4);
	while (wire_counter(&b, "p2p_received") < 10)
		usleep(1000);
	assert_int_equal(wire_set_state(&from, RUNNING_P2P), 0);
	assert_int_equal(wire_set_state(&to, STOP_COPY), 0);
	assert_int_equal(wire_set_state(&to, RUNNING), 0);
	assert_int_equal(wire_counter(&b, "p2p_violations"), 0);
	assert_int_equal(wire_counter(&b, "p2p_received"), wire_counter(&a, "p2p_writes"));
	/* without the barrier: the receiver sees it */
	assert_int_equal(wire_set_state(&from, RUNNING), 0);
	assert_int_equal(wire_set_state(&to, STOP), 0);
	for (json_int_t seen = wire_counter(&a, "p2p_writes");
		wire_counter(&a, "p2p_writes") == seen;)
		usleep(1000);
	assert_int_equal(wire_set_state(&to, RUNNING), 0);
	assert_true(wire_counter(&b, "p2p_violations") > 0);
	wire_close(&from);
	wire_close(&to);
	wire_stop(&a);
	wire_stop(&b);
}

static void siblings_of_one_pf_save_one_after_the_other(void **state)
{
	(void)state;
	const uint64_t rate = 100;
	struct server a, b;
	struct client one, two;
	uint64_t start, bytes;
	char path[96];
	long n;

	a = wire_start("pf-a", "--pf", "test", "--pf-dir", wire_dir, "--save-rate", "100",
		"--state-size", "4M", NULL);
	b = wire_start("pf-b", "--pf", "test", "--pf-dir", wire_dir, "--save-rate", "100",
		"--state-size", "4M", NULL);
	one = wire_connect(&a, false);
	two = wire_connect(&b, false);
	start = swo_now_ns();
	assert_int_equal(wire_set_state(&one, STOP_COPY), 0);
	assert_int_equal(wire_set_state(&two, STOP_COPY), 0);
	do {
		n = wire_read(&one, CHUNK) + wire_read(&two, CHUNK);
		assert_true(n >= 0);
	} while (n);
	bytes = (uint64_t)(wire_counter(&a, "bytes_saved") + wire_counter(&b, "bytes_saved"));
	assert_true(bytes > 8 << 20);
	assert_true(swo_now_ns() - start >= bytes * 1000 / rate);
	wire_close(&one);
	wire_close(&two);
	wire_stop(&a);
	wire_stop(&b);
	snprintf(path, sizeof(path), "%s/switchover-pf-test", wire_dir);
	assert_int_equal(unlink(path), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dma_goes_through_a_mapped_fd_and_into_the_log),
		cmocka_unit_test(a_file_cut_off_under_its_map_fails_the_access_not_the_server),
		cmocka_unit_test(dma_goes_by_messages_over_the_twin_socket),
		cmocka_unit_test(dma_goes_by_messages_between_commands_without_a_twin),
		cmocka_unit_test(an_access_is_answered_while_the_device_waits_for_dma),
		cmocka_unit_test(a_late_answer_to_a_dma_message_is_dropped),
		cmocka_unit_test(p2p_goes_by_messages_where_the_client_passes_no_descriptor),
		cmocka_unit_test(p2p_goes_through_the_siblings_mapped_bar),
		cmocka_unit_test(siblings_of_one_pf_save_one_after_the_other),
	};

	if (!wire_begin(argc, argv))
		return 2;
	return wire_end(cmocka_run_group_tests(tests, NULL, NULL));
}
