/* SPDX-License-Identifier: BSD-3-Clause */
/* Malformed replies of a vfio-user server: one clear error each, and no other effect. */
#include "fake.h"
#include "tests/support/cm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define OPS (&swo_vfio_user_ops)

enum what { CONNECT, FLAGS, STATE, SET_STATE, SIZE, READ, WRITE, PEEK, POKE, MAP, REPORT, RESET };

/* How a reply is bent. Offsets count from the message's first byte. */
enum how {
	PUT16,
	PUT32,
	PUT64,
	RESIZE, /* the message, and the size in its header, to `value` bytes */
	CUT,	/* the message to `value` bytes, with an unchanged header; then EOF */
	FDS,	/* `value` fds are sent along */
};

struct bad {
	const char *name;
	enum what what;
	uint16_t command;
	int index; /* of the feature, region or interrupt; -1: any */
	enum how how;
	unsigned at;
	uint64_t value;
	enum swo_error_code code; /* SWO_E_NONE: must be tolerated */
	bool dead;		  /* the connection is closed */
};

#define FEATURE VFIO_USER_DEVICE_FEATURE
#define REGION	VFIO_USER_GET_REGION_INFO

static const struct bad cases[] = {
	/* The header, at any time. */
	{"size 0", STATE, FEATURE, 2, PUT32, 4, 0, SWO_E_PROTOCOL, true},
	{"size below the header", STATE, FEATURE, 2, PUT32, 4, 15, SWO_E_PROTOCOL, true},
	{"size of 4 GiB", STATE, FEATURE, 2, PUT32, 4, UINT32_MAX, SWO_E_PROTOCOL, true},
	{"size just too large", STATE, FEATURE, 2, PUT32, 4, 1048576 + 4096 + 17, SWO_E_PROTOCOL,
		true},
	{"unknown id", STATE, FEATURE, 2, PUT16, 0, 0, SWO_E_PROTOCOL, true},
	{"command of something else", STATE, FEATURE, 2, PUT16, 2, 9, SWO_E_PROTOCOL, true},
	{"type 2", STATE, FEATURE, 2, PUT32, 8, 2, SWO_E_PROTOCOL, true},
	/* libvfio-user sends the request's payload along: a refusal as any other. */
	{"error with a payload", STATE, FEATURE, 2, PUT32, 8, 0x21, SWO_E_DEVICE, false},
	{"refused arc with a payload", SET_STATE, FEATURE, 2, PUT32, 8, 0x21, SWO_E_DEVICE, false},
	{"refused access with a payload", PEEK, VFIO_USER_REGION_READ, -1, PUT32, 8, 0x21,
		SWO_E_DEVICE, false},
	{"a command instead of a reply", SET_STATE, FEATURE, 2, PUT32, 8, 0, SWO_E_TIMEOUT, false},
	{"unexpected fds", STATE, FEATURE, 2, FDS, 0, 5, SWO_E_NONE, false},
	{"end in the header", STATE, FEATURE, 2, CUT, 0, 7, SWO_E_PEER_LOST, true},
	{"end in the body", STATE, FEATURE, 2, CUT, 0, 20, SWO_E_PEER_LOST, true},
	{"end instead of a reply", STATE, FEATURE, 2, CUT, 0, 0, SWO_E_PEER_LOST, true},
	/* Connecting. */
	{"VERSION of 2 bytes", CONNECT, VFIO_USER_VERSION, -1, RESIZE, 0, 18, SWO_E_PROTOCOL, true},
	{"VERSION without NUL", CONNECT, VFIO_USER_VERSION, -1, RESIZE, 0, 30, SWO_E_PROTOCOL,
		true},
	{"VERSION of 20 KiB", CONNECT, VFIO_USER_VERSION, -1, RESIZE, 0, 20480, SWO_E_PROTOCOL,
		true},
	{"VERSION newer than ours", CONNECT, VFIO_USER_VERSION, -1, PUT16, 18, 3, SWO_E_UNSUPPORTED,
		true},
	{"VERSION not JSON", CONNECT, VFIO_USER_VERSION, -1, PUT16, 20, 0x4141, SWO_E_PROTOCOL,
		true},
	{"a command instead of VERSION", CONNECT, VFIO_USER_VERSION, -1, PUT32, 8, 0,
		SWO_E_PROTOCOL, true},
	{"end in VERSION", CONNECT, VFIO_USER_VERSION, -1, CUT, 0, 20, SWO_E_PEER_LOST, true},
	{"short GET_INFO", CONNECT, VFIO_USER_GET_INFO, -1, RESIZE, 0, 28, SWO_E_PROTOCOL, true},
	{"long GET_INFO", CONNECT, VFIO_USER_GET_INFO, -1, RESIZE, 0, 33, SWO_E_PROTOCOL, true},
	{"4 G regions", CONNECT, VFIO_USER_GET_INFO, -1, PUT32, 24, UINT32_MAX, SWO_E_PROTOCOL,
		true},
	{"33 interrupts", CONNECT, VFIO_USER_GET_INFO, -1, PUT32, 28, 33, SWO_E_PROTOCOL, true},
	{"no regions at all", CONNECT, VFIO_USER_GET_INFO, -1, PUT32, 24, 0, SWO_E_NONE, false},
	{"short region", CONNECT, REGION, 0, RESIZE, 0, 47, SWO_E_PROTOCOL, true},
	{"region of another index", CONNECT, REGION, 0, PUT32, 24, 1, SWO_E_PROTOCOL, true},
	{"region size below zero", CONNECT, REGION, 0, PUT64, 32, UINT64_MAX, SWO_E_PROTOCOL, true},
	{"region offset below zero", CONNECT, REGION, 0, PUT64, 40, UINT64_MAX, SWO_E_PROTOCOL,
		true},
	{"region and offset too large", CONNECT, REGION, 0, PUT64, 40, INT64_MAX, SWO_E_PROTOCOL,
		true},
	{"region argsz of 4 GiB", CONNECT, REGION, 2, PUT32, 16, UINT32_MAX, SWO_E_PROTOCOL, true},
	{"region argsz of 8000", CONNECT, REGION, 2, PUT32, 16, 8000, SWO_E_NONE, false},
	{"capability in the head", CONNECT, REGION, 2, PUT32, 28, 8, SWO_E_PROTOCOL, true},
	{"capability behind the end", CONNECT, REGION, 2, PUT32, 28, 80, SWO_E_PROTOCOL, true},
	{"capability over the end", CONNECT, REGION, 2, PUT32, 28, 76, SWO_E_PROTOCOL, true},
	{"capability at 4 GiB", CONNECT, REGION, 2, PUT32, 28, UINT32_MAX, SWO_E_PROTOCOL, true},
	{"capabilities in a circle", CONNECT, REGION, 2, PUT32, 52, 32, SWO_E_PROTOCOL, true},
	{"capability unknown", CONNECT, REGION, 2, PUT16, 48, 77, SWO_E_NONE, false},
	{"capability of version 2", CONNECT, REGION, 2, PUT16, 50, 2, SWO_E_NONE, false},
	{"4 G sparse areas", CONNECT, REGION, 2, PUT32, 56, UINT32_MAX, SWO_E_PROTOCOL, true},
	{"3 areas where 2 fit", CONNECT, REGION, 2, PUT32, 56, 3, SWO_E_PROTOCOL, true},
	{"no areas", CONNECT, REGION, 2, PUT32, 56, 0, SWO_E_NONE, false},
	{"area outside", CONNECT, REGION, 2, PUT64, 64, 0x3001, SWO_E_PROTOCOL, true},
	{"area over the end", CONNECT, REGION, 2, PUT64, 72, 0x3001, SWO_E_PROTOCOL, true},
	{"area of 2^64", CONNECT, REGION, 2, PUT64, 72, UINT64_MAX, SWO_E_PROTOCOL, true},
	{"short interrupt", CONNECT, VFIO_USER_GET_IRQ_INFO, 0, RESIZE, 0, 16, SWO_E_PROTOCOL,
		true},
	{"interrupt of another index", CONNECT, VFIO_USER_GET_IRQ_INFO, 1, PUT32, 24, 0,
		SWO_E_PROTOCOL, true},
	{"4 G vectors", CONNECT, VFIO_USER_GET_IRQ_INFO, 2, PUT32, 28, UINT32_MAX, SWO_E_PROTOCOL,
		true},
	{"a bare PROBE", CONNECT, FEATURE, 9, RESIZE, 0, 16, SWO_E_NONE, false},
	{"end in a PROBE", CONNECT, FEATURE, 9, CUT, 0, 18, SWO_E_PEER_LOST, true},
	/* Migration. */
	{"flags cut short", FLAGS, FEATURE, 1, RESIZE, 0, 28, SWO_E_PROTOCOL, false},
	{"flags without STOP_COPY", FLAGS, FEATURE, 1, PUT64, 24, 6, SWO_E_UNSUPPORTED, false},
	{"state 8", STATE, FEATURE, 2, PUT32, 24, 8, SWO_E_PROTOCOL, false},
	{"state -1", STATE, FEATURE, 2, PUT32, 24, UINT32_MAX, SWO_E_PROTOCOL, false},
	{"no state", STATE, FEATURE, 2, RESIZE, 0, 16, SWO_E_PROTOCOL, false},
	{"state and more", STATE, FEATURE, 2, RESIZE, 0, 33, SWO_E_PROTOCOL, false},
	{"state and a megabyte", STATE, FEATURE, 2, RESIZE, 0, 1048576, SWO_E_PROTOCOL, false},
	{"a bare SET", SET_STATE, FEATURE, 2, RESIZE, 0, 16, SWO_E_NONE, false},
	{"a SET with a megabyte", SET_STATE, FEATURE, 2, RESIZE, 0, 1048576, SWO_E_PROTOCOL, false},
	{"half a size", SIZE, FEATURE, 9, RESIZE, 0, 28, SWO_E_PROTOCOL, false},
	{"data without size", READ, VFIO_USER_MIG_DATA_READ, -1, RESIZE, 0, 20, SWO_E_PROTOCOL,
		false},
	{"data of no bytes at all", READ, VFIO_USER_MIG_DATA_READ, -1, RESIZE, 0, 16,
		SWO_E_PROTOCOL, false},
	{"more data than requested", READ, VFIO_USER_MIG_DATA_READ, -1, RESIZE, 0, 16 + 8 + 101,
		SWO_E_PROTOCOL, false},
	{"data size above the request", READ, VFIO_USER_MIG_DATA_READ, -1, PUT32, 20, 101,
		SWO_E_PROTOCOL, false},
	{"data size of 4 GiB", READ, VFIO_USER_MIG_DATA_READ, -1, PUT32, 20, UINT32_MAX,
		SWO_E_PROTOCOL, false},
	{"data size above the payload", READ, VFIO_USER_MIG_DATA_READ, -1, RESIZE, 0, 16 + 8 + 10,
		SWO_E_PROTOCOL, false},
	{"end in the data", READ, VFIO_USER_MIG_DATA_READ, -1, CUT, 0, 60, SWO_E_PEER_LOST, true},
	{"a write's reply of a megabyte", WRITE, VFIO_USER_MIG_DATA_WRITE, -1, RESIZE, 0, 1048576,
		SWO_E_PROTOCOL, false},
	{"a write's reply that repeats its head", WRITE, VFIO_USER_MIG_DATA_WRITE, -1, RESIZE, 0,
		24, SWO_E_NONE, false},
	/* Regions and DMA. */
	{"short region read", PEEK, VFIO_USER_REGION_READ, -1, RESIZE, 0, 16 + 16 + 3,
		SWO_E_PROTOCOL, false},
	{"long region read", PEEK, VFIO_USER_REGION_READ, -1, RESIZE, 0, 16 + 16 + 5,
		SWO_E_PROTOCOL, false},
	{"region read of another count", PEEK, VFIO_USER_REGION_READ, -1, PUT32, 28, 2,
		SWO_E_PROTOCOL, false},
	{"region write cut short", POKE, VFIO_USER_REGION_WRITE, -1, RESIZE, 0, 31, SWO_E_PROTOCOL,
		false},
	{"region write of another count", POKE, VFIO_USER_REGION_WRITE, -1, PUT32, 28, 2,
		SWO_E_DEVICE, false},
	{"a map's reply of a megabyte", MAP, VFIO_USER_DMA_MAP, -1, RESIZE, 0, 1048576,
		SWO_E_PROTOCOL, false},
	{"report about another address", REPORT, FEATURE, 8, PUT64, 24, 0, SWO_E_PROTOCOL, false},
	{"report of another length", REPORT, FEATURE, 8, PUT64, 32, 1, SWO_E_PROTOCOL, false},
	{"report of another page size", REPORT, FEATURE, 8, PUT64, 40, 65536, SWO_E_PROTOCOL,
		false},
	{"report without its head", REPORT, FEATURE, 8, RESIZE, 0, 47, SWO_E_PROTOCOL, false},
	{"half a bitmap", REPORT, FEATURE, 8, RESIZE, 0, 52, SWO_E_PROTOCOL, false},
	{"a bitmap too long", REPORT, FEATURE, 8, RESIZE, 0, 64, SWO_E_PROTOCOL, false},
	{"no bitmap", REPORT, FEATURE, 8, RESIZE, 0, 48, SWO_E_NONE, false},
	{"a log page size of 0", REPORT, FEATURE, 6, PUT64, 24, 0, SWO_E_PROTOCOL, false},
	{"a log page size of 2^63", REPORT, FEATURE, 6, PUT64, 24, UINT64_C(1) << 63,
		SWO_E_PROTOCOL, false},
	{"a START cut short", REPORT, FEATURE, 6, RESIZE, 0, 28, SWO_E_PROTOCOL, false},
	{"a reset's reply of a megabyte", RESET, VFIO_USER_RESET, -1, RESIZE, 0, 1048576,
		SWO_E_PROTOCOL, false},
};

static bool armed; /* by the test, and taken back by the server's thread: atomic */

static void arm(bool on)
{
	__atomic_store_n(&armed, on, __ATOMIC_RELEASE);
}

static int index_of(const struct fake_message *m)
{
	uint32_t n = 0;

	if (m->header.command == FEATURE) {
		memcpy(&n, m->body + 4, 4);
		return (int)(n & 0xffff);
	}
	if (m->len >= 12)
		memcpy(&n, m->body + 8, 4);
	return (int)n;
}

static void send_with_fds(struct fake *f, const void *message, size_t len, unsigned count)
{
	int fds[VFIO_USER_FDS_MAX] = {0};
	struct iovec iov = {(void *)message, len};

	vfio_user_send(f->sock, &iov, 1, fds, count, swo_deadline_ms(20000), NULL, NULL);
}

static void bend(struct fake *f, const struct fake_message *m, uint8_t *reply, size_t *len)
{
	const struct bad *bad = f->opaque;
	uint32_t size = (uint32_t)bad->value;

	if (!__atomic_load_n(&armed, __ATOMIC_ACQUIRE) || m->header.command != bad->command ||
		(bad->index >= 0 && index_of(m) != bad->index))
		return;
	switch (bad->how) {
	case PUT16:
		memcpy(reply + bad->at, &bad->value, 2);
		break;
	case PUT32:
		memcpy(reply + bad->at, &bad->value, 4);
		break;
	case PUT64:
		memcpy(reply + bad->at, &bad->value, 8);
		break;
	case RESIZE:
		if (bad->value > *len)
			memset(reply + *len, 0, bad->value - *len);
		memcpy(reply + 4, &size, 4);
		*len = bad->value;
		break;
	case CUT:
		fake_raw(f, reply, bad->value);
		*len = 0;
		shutdown(f->sock, SHUT_RDWR);
		break;
	case FDS:
		send_with_fds(f, reply, *len, size);
		*len = 0;
		break;
	}
	/* Only one reply of an operation; operations with two requests (regions) are modified twice. */
	arm(bad->what == CONNECT);
}

static int run(void *dev, enum what what, struct swo_error *err)
{
	static uint8_t buf[100];
	uint64_t value = 4096, bits[2] = {0};
	enum swo_device_state state;
	size_t got;

	switch (what) {
	case FLAGS:
		return OPS->get_mig_flags(dev, &value, err);
	case STATE:
		return OPS->get_state(dev, &state, err);
	case SET_STATE:
		return OPS->set_state(dev, SWO_DEVICE_STOP, err);
	case SIZE:
		return OPS->data_size(dev, &value, err);
	case READ:
		return OPS->data_read(dev, buf, sizeof(buf), &got, err);
	case WRITE:
		if (OPS->data_write(dev, buf, sizeof(buf), err))
			return -1;
		return OPS->set_state(dev, SWO_DEVICE_STOP, err);
	case PEEK:
		return OPS->region_read(dev, 0, 0, buf, 4, err);
	case POKE:
		return OPS->region_write(dev, 0, 0, buf, 4, false, err);
	case MAP:
		return OPS->dma_map(dev, 0, 0x1000, -1, 0, NULL, 3, err);
	case REPORT:
		if (OPS->dma_map(dev, 0x10000, 0x10000, 0, 0, NULL, 3, err) ||
			OPS->dma_log_start(dev, &value, NULL, 0, err))
			return -1;
		return OPS->dma_log_report(dev, 0x10000, 0x10000, 4096, bits, err);
	case RESET:
		return OPS->reset(dev, err);
	default:
		return 0;
	}
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void check(
	const struct bad *bad, const struct fake *f, void *dev, int rc, const struct swo_error *err)
{
	struct swo_error again = {0};
	enum swo_device_state state;

	(void)f;
	if ((rc ? err->code : SWO_E_NONE) != bad->code)
		fail_msg("'%s' gave %s: %s", bad->name,
			rc ? swo_error_code_name(err->code) : "success", rc ? err->text : "");
	if (rc && !strstr(err->text, "device vf7"))
		fail_msg("'%s' does not name the device: %s", bad->name, err->text);
	if (!dev)
		return;
	/* A live connection continues to work; a dead one fails at once, with the same error. */
	rc = OPS->get_state(dev, &state, &again);
	if (rc != (bad->dead ? -1 : 0) || (bad->dead && again.code != bad->code))
		fail_msg("after '%s' the next command gave %d: %s", bad->name, rc, again.text);
}

static void one_case(const struct bad *bad)
{
	/* Only the case without a reply waits for its deadline. */
	struct swo_vfio_user_params params = {.size = sizeof(struct swo_vfio_user_params),
		.command_deadline_ms = 30000,
		.slow_deadline_ms = bad->code == SWO_E_TIMEOUT ? 200 : 30000};
	struct fake fake;
	struct swo_error err = {0};
	unsigned before = open_fds();
	void *dev = NULL;

	fake_init(&fake);
	fake.bend = bend;
	fake.opaque = (void *)bad;
	fake.data = calloc(1, 1000);
	fake.data_len = 1000;
	fake.region_fd = memfd_create("bar2", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fake.region_fd, 0x8000), 0);
	arm(bad->what == CONNECT);
	assert_int_equal(fake_start(&fake), 0);
	int rc = swo_vfio_user_connect("vf7", fake.path, &params, &dev, &err);

	if (bad->what != CONNECT) {
		if (rc)
			fail_msg("'%s': connect: %s", bad->name, err.text);
		arm(true);
		rc = run(dev, bad->what, &err);
		arm(false);
	}
	check(bad, &fake, dev, rc, &err);
	if (dev)
		OPS->destroy(dev);
	fake_stop(&fake);
	free(fake.data);
	if (open_fds() != before)
		fail_msg("'%s' leaves %d fds open", bad->name, (int)(open_fds() - before));
}

static void every_malformed_reply_is_one_clear_error(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(cases); i++)
		one_case(&cases[i]);
}

/* Unexpected messages */

static const struct {
	const char *name;
	bool on_twin;
	struct vfio_user_header header;
	enum swo_error_code code;
} strays[] = {
	{"a reply to nothing", false, {.id = 9, .command = 9, .size = 16, .flags = 1},
		SWO_E_PROTOCOL},
	{"a refusal of nothing", false, {.id = 9, .command = 9, .size = 16, .flags = 0x21},
		SWO_E_PROTOCOL},
	{"a reply on the twin", true, {.id = 1, .command = 9, .size = 16, .flags = 1},
		SWO_E_PROTOCOL},
	{"a command over the limit", false, {.command = 12, .size = 16 + 16 + 1048576 + 1},
		SWO_E_PROTOCOL},
	{"a command over the limit on the twin", true,
		{.command = 12, .size = 16 + 16 + 1048576 + 1}, SWO_E_PROTOCOL},
	{"junk on the twin", true, {.id = 0xffff, .size = UINT32_MAX, .flags = 7}, SWO_E_PROTOCOL},
};

static unsigned stray;

static bool send_stray(struct fake *f, struct fake_message *m)
{
	if (m->header.command != VFIO_USER_RESET)
		return false;
	int sock = strays[stray].on_twin ? f->twin : f->sock;

	send(sock, &strays[stray].header, sizeof(strays[stray].header), MSG_NOSIGNAL);
	return true;
}

static void an_unexpected_reply_closes_the_connection(void **state)
{
	(void)state;
	for (stray = 0; stray < SWO_ARRAY_SIZE(strays); stray++) {
		struct swo_error err = {0};
		struct fake fake;
		void *dev;

		fake_init(&fake);
		fake.caps.twin_socket = true;
		fake.hook = send_stray;
		assert_int_equal(fake_start(&fake), 0);
		assert_int_equal(swo_vfio_user_connect("vf7", fake.path, NULL, &dev, &err), 0);
		assert_int_equal(OPS->reset(dev, &err), -1);
		if (err.code != strays[stray].code)
			fail_msg("%s: %s", strays[stray].name, err.text);
		OPS->destroy(dev);
		fake_stop(&fake);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_malformed_reply_is_one_clear_error),
		cmocka_unit_test(an_unexpected_reply_closes_the_connection),
	};

	return cmocka_run_group_tests_name("vfio_user_malformed", tests, NULL, NULL);
}
