/* SPDX-License-Identifier: BSD-3-Clause */
/* One connection, many threads: deadlines, late replies, lost servers and what a guest sees of them,
   doorbells beside a stream. */
#include "device/vfio_user/client_internal.h"
#include "device/vfio_user/internal.h"
#include "fake.h"
#include "tests/support/must.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define OPS (&swo_vfio_user_ops)

static struct fake fake;
static void *dev;
static struct swo_error err;
static struct swo_vfio_user_params params;
/* The server's thread handles nothing more until released. */
static bool stuck, unstick;

static int setup(void **state)
{
	(void)state;
	fake_init(&fake);
	dev = NULL;
	stuck = unstick = false;
	memset(&err, 0, sizeof(err));
	params = (struct swo_vfio_user_params){.size = sizeof(struct swo_vfio_user_params),
		.command_deadline_ms = 30000,
		.slow_deadline_ms = 30000};
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	__atomic_store_n(&unstick, true, __ATOMIC_RELEASE);
	if (dev)
		OPS->destroy(dev);
	fake_stop(&fake);
	free(fake.data);
	return 0;
}

static void connect_to_fake(void)
{
	assert_int_equal(fake_start(&fake), 0);
	MUST(swo_vfio_user_connect("vf2", fake.path, &params, &dev, &err));
}

static void make_data(size_t len)
{
	fake.data = malloc(len);
	fake.data_len = len;
	for (size_t i = 0; i < len; i++)
		fake.data[i] = (uint8_t)(i * 13 + i / 4099);
}

/* Deadlines */

/* Keeps the first slow command's reply until the next command has arrived. */
static struct fake_message kept;
static bool keeping;
static size_t send_early; /* of the kept reply, this much goes out at once */
static uint8_t late[16 + 8 + 1048576];

static bool keep_reply(struct fake *f, struct fake_message *m)
{
	bool slow = m->header.command == VFIO_USER_MIG_DATA_READ ||
		    m->header.command == VFIO_USER_RESET;

	if (slow && !keeping) {
		size_t payload = m->header.command == VFIO_USER_RESET ? 0 : sizeof(late) - 16;
		struct vfio_user_header header = vfio_user_reply_header(&m->header, payload, 0);
		struct vfio_user_mig_data head = {.argsz = 8 + 1048576, .size = 1048576};

		kept = *m;
		keeping = true;
		memset(late, 0xaa, sizeof(late));
		memcpy(late, &header, sizeof(header));
		memcpy(late + sizeof(header), &head, sizeof(head));
		if (send_early)
			fake_raw(f, late, send_early);
		return true;
	}
	if (keeping && kept.header.size) {
		struct vfio_user_header header;

		memcpy(&header, late, sizeof(header));
		fake_raw(f, late + send_early, header.size - send_early);
		kept.header.size = 0;
	}
	return false;
}

static void time_out_and_go_on(size_t early)
{
	enum swo_device_state now;
	uint8_t *buf = calloc(1, 1048576);
	size_t got;

	fake.hook = keep_reply;
	keeping = false;
	send_early = early;
	params.slow_deadline_ms = 50;
	connect_to_fake();
	assert_int_equal(OPS->data_read(dev, buf, 1048576, &got, &err), -1);
	assert_int_equal(err.code, SWO_E_TIMEOUT);
	assert_non_null(strstr(err.text, "device vf2"));
	memset(buf, 0x55, 1048576);
	/* The late megabyte arrives first, and must be dropped. */
	for (unsigned i = 0; i < 3; i++) {
		MUST(OPS->get_state(dev, &now, &err));
		assert_int_equal(now, SWO_DEVICE_RUNNING);
	}
	for (unsigned i = 0; i < 1048576; i++)
		if (buf[i] != 0x55)
			fail_msg("byte %u was written after the read had failed", i);
	free(buf);
}

static void a_late_reply_is_dropped_and_the_connection_goes_on(void **state)
{
	(void)state;
	time_out_and_go_on(0);
}

static void a_reply_given_up_in_its_header_is_dropped(void **state)
{
	(void)state;
	time_out_and_go_on(9);
}

static void a_reply_given_up_in_its_body_is_dropped(void **state)
{
	(void)state;
	time_out_and_go_on(50000);
}

static void a_late_bare_reply_is_dropped(void **state)
{
	(void)state;
	enum swo_device_state now;

	fake.hook = keep_reply;
	keeping = false;
	send_early = 0;
	params.slow_deadline_ms = 20;
	connect_to_fake();
	assert_int_equal(OPS->reset(dev, &err), -1);
	assert_int_equal(err.code, SWO_E_TIMEOUT);
	MUST(OPS->get_state(dev, &now, &err));
}

static bool say_nothing(struct fake *f, struct fake_message *m)
{
	(void)f;
	return m->header.command == VFIO_USER_VERSION;
}

static void a_silent_server_fails_connect_by_the_deadline(void **state)
{
	(void)state;
	uint64_t start = swo_now_ns();

	fake.hook = say_nothing;
	params.command_deadline_ms = 30;
	assert_int_equal(fake_start(&fake), 0);
	assert_int_equal(swo_vfio_user_connect("vf2", fake.path, &params, &dev, &err), -1);
	assert_int_equal(err.code, SWO_E_TIMEOUT);
	assert_non_null(strstr(err.text, "VERSION"));
	assert_in_range(swo_now_ns() - start, 30000000, UINT64_C(20000000000));
}

/* Reads no further message until released. */
static void stick(void)
{
	__atomic_store_n(&stuck, true, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&unstick, __ATOMIC_ACQUIRE))
		swo_sleep_until(swo_now_ns() + 1000000);
}

static void release_server(void)
{
	__atomic_store_n(&unstick, true, __ATOMIC_RELEASE);
}

static void await_stuck(void)
{
	while (!__atomic_load_n(&stuck, __ATOMIC_ACQUIRE))
		swo_sleep_until(swo_now_ns() + 1000000);
}

static bool get_stuck(struct fake *f, struct fake_message *m)
{
	(void)f;
	if (m->header.command == VFIO_USER_RESET)
		stick();
	return false;
}

static void a_server_that_reads_nothing_does_not_hold_a_writer(void **state)
{
	(void)state;
	uint8_t *data = calloc(4, 1048576);
	enum swo_device_state now;

	fake.hook = get_stuck;
	fake.caps.max_write = 1048576;
	params.slow_deadline_ms = 50;
	connect_to_fake();
	assert_int_equal(OPS->reset(dev, &err), -1);
	assert_int_equal(err.code, SWO_E_TIMEOUT);
	/* The socket is soon full, in the middle of a message: that cannot be mended. */
	assert_int_equal(OPS->data_write(dev, data, 4 * 1048576, &err), -1);
	assert_int_equal(err.code, SWO_E_TIMEOUT);
	assert_int_equal(OPS->get_state(dev, &now, &err), -1);
	assert_non_null(strstr(err.text, "closing its vfio-user connection"));
	release_server();
	free(data);
}

/* What a guest sees of a server that hangs */

#define BELL	   0  /* offsets in BAR 0 */
#define STICK_HERE 64 /* a write to it, or a read */
#define VALUE_AT   128

#define MANY	20000u /* more than any socket has room for */
#define DROPS	200u   /* a deadline each would be 100 s */
#define AT_ONCE UINT64_C(20000000000)

static struct bells {
	uint32_t value[MANY + 1];
	unsigned count; /* of the server's thread; to be read after a reply */
} received;

static bool stick_at_an_access(struct fake *f, struct fake_message *m)
{
	struct vfio_user_region_access access;

	(void)f;
	if (m->header.command != VFIO_USER_REGION_WRITE &&
		m->header.command != VFIO_USER_REGION_READ)
		return false;
	memcpy(&access, m->body, sizeof(access));
	if (access.offset == STICK_HERE)
		stick();
	if (access.offset == BELL && m->header.command == VFIO_USER_REGION_WRITE) {
		if (received.count < MANY)
			memcpy(&received.value[received.count], m->body + sizeof(access), 4);
		received.count++;
	}
	return false;
}

/* The arc lasts until released. */
static bool stick_in_an_arc(struct fake *f, struct fake_message *m)
{
	struct vfio_user_feature feature;

	if (m->header.command != VFIO_USER_DEVICE_FEATURE)
		return stick_at_an_access(f, m);
	memcpy(&feature, m->body, sizeof(feature));
	if (feature.flags == (VFIO_USER_FEATURE_SET | VFIO_USER_FEATURE_MIG_STATE))
		stick();
	return false;
}

static int ring_bell(void *device, uint32_t value)
{
	return OPS->region_write(device, 0, BELL, &value, 4, true, &err);
}

/* Until the server has handled all that was sent before. */
static void settle(void *device)
{
	enum swo_device_state now;

	MUST(OPS->get_state(device, &now, &err));
}

static void expect_heard(const struct bells *rung)
{
	settle(dev);
	assert_int_equal(received.count, rung->count);
	assert_memory_equal(received.value, rung->value, rung->count * sizeof(rung->value[0]));
}

static void a_server_that_reads_nothing_holds_up_its_guest_once(void **state)
{
	(void)state;
	static struct bells rung;
	struct fake other;
	void *sibling;
	uint32_t value = 0, n = 0;
	uint64_t held_up = 0;

	memset(&received, 0, sizeof(received));
	rung.count = 0;
	fake.hook = stick_at_an_access;
	params.command_deadline_ms = 500;
	connect_to_fake();
	fake_init(&other);
	assert_int_equal(fake_start(&other), 0);
	MUST(swo_vfio_user_connect("sibling", other.path, NULL, &sibling, &err));
	MUST(OPS->region_write(dev, 0, STICK_HERE, &value, 4, true, &err));
	await_stuck();

	/* A vCPU that rings both in turn, until many were dropped. */
	while (n - rung.count < DROPS) {
		const uint64_t start = swo_now_ns();
		const int rc = ring_bell(dev, ++n);

		held_up += swo_now_ns() - start;
		if (!rc && rung.count < MANY)
			rung.value[rung.count++] = n;
		assert_true(!rc || err.code == SWO_E_TIMEOUT);
		assert_true(!rc || strstr(err.text, "device vf2"));
		MUST(ring_bell(sibling, n));
		if (held_up > AT_ONCE)
			fail_msg("%u of %u doorbells have held it up", n - rung.count, n);
	}
	settle(sibling);
	memcpy(&value, other.bar + BELL, 4);
	assert_int_equal(value, n);

	/* It comes back: none that it was sent was lost, and none is any more. */
	release_server();
	for (uint64_t start = swo_now_ns(); ring_bell(dev, n + 1);) {
		if (swo_now_ns() - start > AT_ONCE)
			fail_msg("a server that is back gets nothing: %s", err.text);
		swo_sleep_until(swo_now_ns() + 1000000);
	}
	rung.value[rung.count++] = n + 1;
	expect_heard(&rung);
	OPS->destroy(sibling);
	fake_stop(&other);
}

struct bell_ringer {
	unsigned rung; /* read meanwhile */
	int rc;
	struct swo_error err;
};

static void *ring_many(void *opaque)
{
	struct bell_ringer *ringer = opaque;

	for (uint32_t n = 1; n <= MANY && !ringer->rc; n++) {
		ringer->rc = OPS->region_write(dev, 0, BELL, &n, 4, true, &ringer->err);
		__atomic_store_n(&ringer->rung, n, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void *read_value(void *opaque)
{
	struct bell_ringer *reader = opaque;
	uint32_t value = 0;

	reader->rc = OPS->region_read(dev, 0, VALUE_AT, &value, 4, &reader->err);
	reader->rung = value;
	return NULL;
}

static void *enter_precopy(void *opaque)
{
	struct bell_ringer *worker = opaque;

	worker->rc = OPS->set_state(dev, SWO_DEVICE_PRE_COPY, &worker->err);
	return NULL;
}

#define WORKER 0
#define RINGER 1
#define READER 2

static struct bell_ringer crew[3];
static pthread_t crew_threads[3];

/* Of the commands that are sent from now on, and of the accesses that wait behind another. */
static void set_command_deadline(uint64_t ms)
{
	struct vfio_user *vu = dev;

	/* One that sends takes the first before its next command. */
	pthread_mutex_lock(&vu->client->send_lock);
	pthread_mutex_lock(&vu->client->lock);
	vu->client->command_deadline_ms = vu->params.command_deadline_ms = ms;
	pthread_mutex_unlock(&vu->client->lock);
	pthread_mutex_unlock(&vu->client->send_lock);
}

/* The access that is listed has looked since `ms` became its deadline. */
static bool has_looked(uint64_t ms)
{
	struct vfio_user *vu = dev;
	bool found = false;

	pthread_mutex_lock(&vu->client->lock);
	for (const struct vfio_user_call *call = vu->client->calls; call; call = call->next)
		found = found || (call->access && call->deadline > swo_deadline_ms(ms / 2));
	pthread_mutex_unlock(&vu->client->lock);
	return found;
}

/* An arc that hangs in the server, a vCPU that rings and another that reads. */
static void begin_an_arc(uint64_t command_deadline_ms)
{
	static void *(*const jobs[])(void *) = {enter_precopy, ring_many, read_value};

	memset(crew, 0, sizeof(crew));
	memset(&received, 0, sizeof(received));
	fake.hook = stick_in_an_arc;
	fake.bar[VALUE_AT] = 0x42;
	connect_to_fake();
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(jobs); i++) {
		MUST(swo_thread_start(&crew_threads[i], "crew", jobs[i], &crew[i], &err));
		if (i == WORKER) {
			await_stuck();
			set_command_deadline(command_deadline_ms);
		}
	}
}

static void the_guest_waits_for_a_server_that_is_slow(void **state)
{
	(void)state;
	uint64_t start = swo_now_ns();

	begin_an_arc(100);
	/* Several deadlines of a command, and within that of the arc. */
	swo_sleep_until(swo_now_ns() + 1200000000);
	assert_true(__atomic_load_n(&crew[RINGER].rung, __ATOMIC_ACQUIRE) < MANY);
	/* What comes now may take as long as a machine with other work needs. */
	set_command_deadline(30000);
	while (!has_looked(30000)) {
		if (swo_now_ns() - start > AT_ONCE)
			fail_msg("the access is not waiting any more");
		swo_sleep_until(swo_now_ns() + 1000000);
	}
	release_server();
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(crew); i++) {
		pthread_join(crew_threads[i], NULL);
		if (crew[i].rc)
			fail_msg("thread %u: %s", i, crew[i].err.text);
	}
	assert_int_equal(crew[READER].rung, 0x42);
	settle(dev);
	assert_int_equal(received.count, MANY);
	for (uint32_t n = 1; n <= MANY; n++)
		assert_int_equal(received.value[n - 1], n);
}

static void the_guest_does_not_wait_for_a_device_that_is_lost(void **state)
{
	(void)state;
	uint32_t value = 0;

	begin_an_arc(params.command_deadline_ms);
	swo_sleep_until(swo_now_ns() + 100000000);
	uint64_t start = swo_now_ns();

	OPS->lost(dev);
	for (unsigned i = RINGER; i <= READER; i++) {
		pthread_join(crew_threads[i], NULL);
		assert_int_equal(crew[i].rc, -1);
		assert_int_equal(crew[i].err.code, SWO_E_TIMEOUT);
	}
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(OPS->region_read(dev, 0, VALUE_AT, &value, 4, &err), -1);
	assert_true(swo_now_ns() - start < AT_ONCE);
	release_server();
	pthread_join(crew_threads[WORKER], NULL);
	/* The arc's end was received: it is there again. */
	assert_int_equal(crew[WORKER].rc, 0);
	MUST(OPS->region_read(dev, 0, VALUE_AT, &value, 4, &err));
	assert_int_equal(value, 0x42);
	assert_int_equal(received.count, crew[RINGER].rung - 1);
	/* One that owes nothing is not lost for the guest. */
	OPS->lost(dev);
	MUST(OPS->region_read(dev, 0, VALUE_AT, &value, 4, &err));
}

static void the_guest_waits_once_for_a_reply_that_does_not_come(void **state)
{
	(void)state;
	static struct bells rung;
	uint32_t value = 0;
	uint64_t start = swo_now_ns();

	memset(&received, 0, sizeof(received));
	rung.count = 0;
	fake.hook = stick_at_an_access;
	fake.bar[VALUE_AT] = 0x42;
	params.command_deadline_ms = 100;
	connect_to_fake();
	for (uint32_t n = 1; n <= 1000; n++) {
		assert_int_equal(OPS->region_read(dev, 0, STICK_HERE, &value, 4, &err), -1);
		assert_int_equal(err.code, SWO_E_TIMEOUT);
		assert_int_equal(OPS->region_write(dev, 0, VALUE_AT, &value, 4, false, &err), -1);
		assert_int_equal(err.code, SWO_E_TIMEOUT);
		/* There may be room for a posted one. */
		if (!ring_bell(dev, n))
			rung.value[rung.count++] = n;
		if (swo_now_ns() - start > AT_ONCE)
			fail_msg("held up by the first %u accesses", n);
	}
	assert_true(rung.count > 0);
	release_server();
	/* The late reply shows that it is back. */
	for (start = swo_now_ns(); OPS->region_read(dev, 0, VALUE_AT, &value, 4, &err);) {
		if (swo_now_ns() - start > AT_ONCE)
			fail_msg("a server that is back is not read: %s", err.text);
		swo_sleep_until(swo_now_ns() + 1000000);
	}
	assert_int_equal(value, 0x42);
	expect_heard(&rung);
}

/* A lost server:
 */

static bool wait_for_three(struct fake *f, struct fake_message *m)
{
	static unsigned n;

	if (m->header.command == VFIO_USER_VERSION)
		n = 0;
	if (m->header.command != VFIO_USER_REGION_READ)
		return false;
	if (++n == 3)
		shutdown(f->sock, SHUT_RDWR);
	return true;
}

static void *read_region(void *opaque)
{
	struct swo_error *why = opaque;
	uint32_t value;

	if (!OPS->region_read(dev, 0, 0, &value, 4, why))
		why->code = SWO_E_NONE;
	return NULL;
}

static void every_waiter_is_woken_by_a_lost_server(void **state)
{
	(void)state;
	struct swo_error why[3];
	pthread_t threads[3];
	uint32_t value = 0;

	fake.hook = wait_for_three;
	connect_to_fake();
	for (unsigned i = 0; i < 3; i++)
		MUST(swo_thread_start(&threads[i], "waiter", read_region, &why[i], &err));
	for (unsigned i = 0; i < 3; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(why[i].code, SWO_E_PEER_LOST);
		assert_string_equal(
			why[i].text, "device vf2: its vfio-user server closed the connection");
	}
	assert_int_equal(OPS->region_write(dev, 0, 0, &value, 4, true, &err), -1);
	assert_int_equal(err.code, SWO_E_PEER_LOST);
}

/* All at once */

#define RINGS 3000u
#define BELLS 3

static unsigned doorbells[BELLS], bad_doorbells;

static bool count_doorbells(struct fake *f, struct fake_message *m)
{
	struct vfio_user_region_access access;
	uint32_t value;

	(void)f;
	if (m->header.command != VFIO_USER_REGION_WRITE)
		return false;
	memcpy(&access, m->body, sizeof(access));
	memcpy(&value, m->body + sizeof(access), 4);
	unsigned bell = (unsigned)(access.offset / 8) % BELLS;

	if (value != ++doorbells[bell] || !(m->header.flags & VFIO_USER_NO_REPLY))
		bad_doorbells++;
	return true;
}

struct ringer {
	unsigned bell;
	struct swo_error err;
	int rc;
};

static void *ring(void *opaque)
{
	struct ringer *ringer = opaque;

	for (uint32_t n = 1; n <= RINGS && !ringer->rc; n++)
		ringer->rc = OPS->region_write(dev, 0, ringer->bell * 8, &n, 4, true, &ringer->err);
	return NULL;
}

static void *ask_state(void *opaque)
{
	struct ringer *ringer = opaque;
	enum swo_device_state now;

	for (unsigned n = 0; n < 300 && !ringer->rc; n++)
		ringer->rc = OPS->get_state(dev, &now, &ringer->err);
	return NULL;
}

static void doorbells_and_questions_go_on_beside_a_stream(void **state)
{
	(void)state;
	struct ringer ringers[BELLS + 2] = {{0}};
	pthread_t threads[BELLS + 2];
	size_t len = 8u << 20, done = 0, got = 1;
	uint8_t *back = malloc(len + 1048576);

	make_data(len);
	memset(doorbells, 0, sizeof(doorbells));
	bad_doorbells = 0;
	fake.hook = count_doorbells;
	fake.caps.twin_socket = true;
	connect_to_fake();
	for (unsigned i = 0; i < BELLS + 2; i++) {
		ringers[i].bell = i;
		MUST(swo_thread_start(
			&threads[i], "test", i < BELLS ? ring : ask_state, &ringers[i], &err));
	}
	while (got) {
		MUST(OPS->data_read(dev, back + done, 1048576, &got, &err));
		done += got;
	}
	for (unsigned i = 0; i < BELLS + 2; i++) {
		pthread_join(threads[i], NULL);
		if (ringers[i].rc)
			fail_msg("thread %u: %s", i, ringers[i].err.text);
	}
	assert_int_equal(done, len);
	assert_memory_equal(back, fake.data, len);
	enum swo_device_state now;
	MUST(OPS->get_state(dev, &now, &err)); /* all posted writes are done before its reply */
	assert_int_equal(bad_doorbells, 0);
	for (unsigned i = 0; i < BELLS; i++)
		assert_int_equal(doorbells[i], RINGS);
	free(back);
}

/* The server writes guest memory all the time, on the twin, from a thread of its own. */
static uint8_t guest[4096];

static int guest_write(void *opaque, uint64_t addr, const void *buf, size_t len)
{
	(void)opaque;
	memcpy(guest + addr, buf, len);
	return 0;
}

static void *write_guest(void *opaque)
{
	int *rc = opaque;

	for (uint32_t n = 0; n < 2000 && !*rc; n++)
		*rc = fake_dma(&fake, fake.twin, true, n % 1000 * 4, &n, 4);
	return NULL;
}

static void device_writes_go_on_beside_reports(void **state)
{
	(void)state;
	int rc = 0;
	pthread_t thread;
	uint64_t page = 4096, bits = 0;

	params.dma_write = guest_write;
	fake.caps.twin_socket = true;
	connect_to_fake();
	MUST(OPS->dma_map(dev, 0, sizeof(guest), -1, 0, NULL, 3, &err));
	MUST(OPS->dma_log_start(dev, &page, NULL, 0, &err));
	assert_int_equal(swo_thread_start(&thread, "dma", write_guest, &rc, &err), 0);
	for (unsigned i = 0; i < 200; i++) {
		MUST(OPS->dma_log_report(dev, 0, 4096, 4096, &bits, &err));
		MUST(OPS->dma_map(dev, 0x10000, 0x1000, -1, 0, NULL, 3, &err));
		MUST(OPS->dma_unmap(dev, 0x10000, 0x1000, &err));
	}
	pthread_join(thread, NULL);
	assert_int_equal(rc, 0);
	MUST(OPS->dma_log_report(dev, 0, 4096, 4096, &bits, &err));
	assert_int_equal(bits, 1);
}

/*
 * The server sends many commands at once and is silent until the last is answered. The service
 * thread reads them in turns, each of which may end anywhere.
 */
#define BURST_MAX 70

static struct {
	unsigned answered, count; /* of the last burst */
	bool over;
} burst;

static unsigned send_burst(int sock, unsigned count)
{
	struct {
		struct vfio_user_header header;
		struct vfio_user_dma_access access;
		uint32_t data;
	} VFIO_USER_PACKED commands[BURST_MAX];
	struct iovec iov = {commands, count * sizeof(commands[0])};
	unsigned answered = 0;

	for (unsigned i = 0; i < count; i++) {
		commands[i].header = vfio_user_command_header((uint16_t)i, VFIO_USER_DMA_WRITE,
			sizeof(commands[0]) - sizeof(commands[0].header), false);
		commands[i].access =
			(struct vfio_user_dma_access){.address = i * 4, .count = sizeof(uint32_t)};
		commands[i].data = i;
	}
	if (vfio_user_send(sock, &iov, 1, NULL, 0, swo_deadline_ms(10000), NULL, NULL))
		return 0;
	while (answered < count) {
		struct vfio_user_dma_access access;
		struct vfio_user_header back;

		if (vfio_user_recv(sock, &back, &access, sizeof(access), NULL,
			    swo_deadline_ms(10000), NULL) ||
			back.id != answered || back.flags & VFIO_USER_ERROR)
			break;
		answered++;
	}
	return answered;
}

/* A doorbell: no thread of the client waits for a reply meanwhile. */
static bool burst_after_doorbell(struct fake *f, struct fake_message *m)
{
	if (m->header.command != VFIO_USER_REGION_WRITE)
		return false;
	burst.answered = 0;
	for (burst.count = 1; burst.count <= BURST_MAX; burst.count++) {
		burst.answered = send_burst(f->twin >= 0 ? f->twin : f->sock, burst.count);
		if (burst.answered != burst.count)
			break;
	}
	__atomic_store_n(&burst.over, true, __ATOMIC_RELEASE);
	return true;
}

static void play_bursts(bool twin)
{
	uint32_t value = 1;

	burst.over = false;
	params.dma_write = guest_write;
	fake.caps.twin_socket = twin;
	fake.hook = burst_after_doorbell;
	connect_to_fake();
	MUST(OPS->dma_map(dev, 0, sizeof(guest), -1, 0, NULL, 3, &err));
	MUST(OPS->region_write(dev, 0, 0, &value, 4, true, &err));
	while (!__atomic_load_n(&burst.over, __ATOMIC_ACQUIRE))
		swo_sleep_until(swo_now_ns() + 1000000);
	if (burst.count <= BURST_MAX)
		fail_msg("%u of %u commands were answered", burst.answered, burst.count);
}

static void all_commands_that_come_at_once_are_answered_on_the_twin(void **state)
{
	(void)state;
	play_bursts(true);
}

static void all_commands_that_come_at_once_are_answered_on_the_one_socket(void **state)
{
	(void)state;
	play_bursts(false);
}

static void connections_come_and_go_with_their_service_thread(void **state)
{
	(void)state;
	struct fake more[3];
	void *devs[3];

	connect_to_fake();
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 3; i++) {
			fake_init(&more[i]);
			more[i].caps.twin_socket = i & 1;
			assert_int_equal(fake_start(&more[i]), 0);
			MUST(swo_vfio_user_connect("more", more[i].path, NULL, &devs[i], &err));
		}
		if (dev)
			OPS->destroy(dev);
		dev = NULL;
		for (unsigned i = 0; i < 3; i++) {
			enum swo_device_state now;

			MUST(OPS->get_state(devs[i], &now, &err));
			OPS->destroy(devs[i]);
			fake_stop(&more[i]);
		}
	}
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_late_reply_is_dropped_and_the_connection_goes_on),
		CASE(a_reply_given_up_in_its_header_is_dropped),
		CASE(a_reply_given_up_in_its_body_is_dropped),
		CASE(a_late_bare_reply_is_dropped),
		CASE(a_silent_server_fails_connect_by_the_deadline),
		CASE(a_server_that_reads_nothing_does_not_hold_a_writer),
		CASE(a_server_that_reads_nothing_holds_up_its_guest_once),
		CASE(the_guest_waits_for_a_server_that_is_slow),
		CASE(the_guest_does_not_wait_for_a_device_that_is_lost),
		CASE(the_guest_waits_once_for_a_reply_that_does_not_come),
		CASE(every_waiter_is_woken_by_a_lost_server),
		CASE(doorbells_and_questions_go_on_beside_a_stream),
		CASE(device_writes_go_on_beside_reports),
		CASE(all_commands_that_come_at_once_are_answered_on_the_twin),
		CASE(all_commands_that_come_at_once_are_answered_on_the_one_socket),
		CASE(connections_come_and_go_with_their_service_thread),
	};

	return cmocka_run_group_tests_name("vfio_user_connection", tests, NULL, NULL);
}
