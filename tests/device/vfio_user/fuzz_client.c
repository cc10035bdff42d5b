/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz_client.c - a server that sends arbitrary data: to the parsers and to a live connection
 * with commands in flight. LLVMFuzzerTestOneInput is libFuzzer's entry point (-DSWO_LIBFUZZER
 * leaves out main); main feeds it inputs of its own, always the same ones.
 */
#include "device/vfio_user/client.h"
#include "device/vfio_user/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int no_dma(void *opaque, bool write, uint64_t addr, void *buf, size_t len)
{
	(void)opaque;
	(void)addr;
	if (!write)
		memset(buf, 0, len);
	return write ? 14 : 0;
}

/* Ids of the first commands are 1 and 2: an input can answer them. */
static void fuzz_stream(const uint8_t *data, size_t size)
{
	struct vfio_user_client *client;
	struct vfio_user_fds fds;
	uint8_t reply[2][64];
	uint64_t state;
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv))
		return;
	struct vfio_user_call calls[2] = {
		{.command = VFIO_USER_DEVICE_FEATURE,
			.reply = {{reply[0], 8}, {&state, sizeof(state)}},
			.reply_min = 16,
			.deadline = swo_deadline_ms(10000)},
		{.command = VFIO_USER_GET_REGION_INFO,
			.reply = {{reply[1], sizeof(reply[1])}},
			.reply_min = 32,
			.reply_fds = &fds,
			.deadline = swo_deadline_ms(10000)},
	};

	if (vfio_user_client_open("fuzz", sv[0], no_dma, NULL, 1000, &client, NULL)) {
		close(sv[1]);
		return;
	}
	bool started[2];

	/* Commands of the server are taken only once it is served; that takes a thread. */
	if (size % 4 == 0 && vfio_user_client_serve(client, -1, NULL))
		size = 0;
	for (unsigned i = 0; i < 2; i++)
		started[i] = !vfio_user_start(client, &calls[i], NULL);
	if (send(sv[1], data, size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		size = 0;
	shutdown(sv[1], SHUT_WR);
	for (unsigned i = 0; i < 2; i++)
		if (started[i] && !vfio_user_finish(client, &calls[i], NULL) && calls[i].reply_fds)
			vfio_user_fds_close(&fds);
	vfio_user_client_close(client);
	close(sv[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vfio_user_caps caps;
	static struct device_regions all = {.device = "fuzz", .from = "server"};

	vfio_user_version_parse(data, size, &caps, NULL);
	if (size >= 12) {
		uint32_t index;

		memcpy(&index, data + 8, sizeof(index));
		device_region_parse(&all, index % DEVICE_REGIONS_MAX, data, size, NULL);
	}
	fuzz_stream(data, size);
	return 0;
}

#ifndef SWO_LIBFUZZER

#define ROUNDS 4000

static uint64_t rng = 0x9e3779b97f4a7c15u;

static uint32_t next(uint32_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 32) % below;
}

/* Something that looks right, so that the deeper parts are reached. */
static size_t plausible(uint8_t *out)
{
	static const char json[] =
		"\0\0\2\0{\"capabilities\":{\"max_msg_fds\":8,\"twin_socket\":{\"supported\":true,"
		"\"fd_index\":0},\"x-switchover\":{\"max_write\":1048576}}}";
	static const uint16_t commands[] = {VFIO_USER_DEVICE_FEATURE, VFIO_USER_GET_REGION_INFO,
		VFIO_USER_DMA_READ, VFIO_USER_DMA_WRITE};
	size_t len = 0;

	if (!next(8)) {
		memcpy(out, json, sizeof(json));
		return sizeof(json);
	}
	if (!next(4)) {
		struct vfio_user_region_info info = {.argsz = 64,
			.flags = 15,
			.index = 2,
			.cap_offset = 32,
			.size = 0x3000,
			.offset = 0x1000};
		struct vfio_user_cap_sparse cap = {
			.header = {.id = 1, .version = 1}, .nr_areas = 1};
		struct vfio_user_sparse_area area = {.size = 0x3000};

		memcpy(out, &info, sizeof(info));
		memcpy(out + 32, &cap, sizeof(cap));
		memcpy(out + 48, &area, sizeof(area));
		return 64;
	}
	for (unsigned i = next(4) + 1; i; i--) {
		uint16_t id = (uint16_t)(1 + next(4));
		size_t payload = next(2) ? 32 : next(80);
		struct vfio_user_header header = {.id = id,
			.command = commands[id - 1],
			.size = (uint32_t)(sizeof(header) + payload),
			.flags = id > 2 ? VFIO_USER_COMMAND : VFIO_USER_REPLY};

		if (!next(8))
			header.flags = next(64);
		memcpy(out + len, &header, sizeof(header));
		memset(out + len + sizeof(header), (int)next(256), payload);
		if (id > 2 && payload >= 16)
			memcpy(out + len + sizeof(header) + 8, &(uint64_t){payload - 16}, 8);
		len += sizeof(header) + payload;
	}
	return len;
}

int main(void)
{
	uint8_t input[1024];

	for (unsigned round = 0; round < ROUNDS; round++) {
		size_t len = plausible(input);

		for (unsigned i = next(6); i; i--)
			input[next((uint32_t)len)] =
				next(3) ? (uint8_t)next(256) : (uint8_t)(0 - next(2));
		LLVMFuzzerTestOneInput(input, next(4) ? len : next((uint32_t)len + 1));
	}
	printf("1..1\nok 1 - %d streams of anything neither crash nor hang the client\n", ROUNDS);
	return 0;
}

#endif
