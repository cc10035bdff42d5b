/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire.h - a minimal vfio-user client for a switchover-simvf process that the test started, and
 * for its control socket.
 */
#ifndef TESTS_SIMVF_WIRE_H
#define TESTS_SIMVF_WIRE_H

#include "device/vfio_user/message.h"
#include "regs.h"
#include "tests/support/cm.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 30000 /* only a hang takes this long */
#define CHUNK	    (1u << 20)

/* The layouts of linux/vfio.h, independent of the model. */
#define STOP	    1
#define RUNNING	    2
#define STOP_COPY   3
#define RESUMING    4
#define RUNNING_P2P 5
#define PRE_COPY    6

static const char *wire_program;
static char wire_dir[64];

struct server {
	pid_t pid;
	char socket[96], control[100];
};

struct client {
	int fd, twin;
	uint16_t id;
	uint8_t *reply; /* payload of the last reply */
	size_t len;
	struct vfio_user_fds fds;
};

static inline swo_deadline soon(void)
{
	return swo_deadline_ms(PATIENCE_MS);
}

/* Starts a server; `...`: further arguments, NULL-terminated. */
static inline struct server wire_start(const char *name, ...)
{
	const char *argv[40] = {wire_program, "--quiet", "--socket"};
	struct server s = {0};
	char ready[16], c;
	unsigned argc = 3;
	int pipes[2];
	va_list more;

	snprintf(s.socket, sizeof(s.socket), "%s/%s", wire_dir, name);
	snprintf(s.control, sizeof(s.control), "%s.ctl", s.socket);
	assert_int_equal(pipe(pipes), 0);
	snprintf(ready, sizeof(ready), "%d", pipes[1]);
	argv[argc++] = s.socket;
	argv[argc++] = "--control";
	argv[argc++] = s.control;
	argv[argc++] = "--ready-fd";
	argv[argc++] = ready;
	va_start(more, name);
	while ((argv[argc] = va_arg(more, const char *)))
		argc++;
	va_end(more);
	s.pid = fork();
	assert_true(s.pid >= 0);
	if (!s.pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when a test fails */
		close(pipes[0]);
		execv(wire_program, (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	close(pipes[1]);
	assert_int_equal(read(pipes[0], &c, 1), 1);
	close(pipes[0]);
	return s;
}

static inline int wire_wait(struct server *s)
{
	int status = -1;

	assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
	s->pid = 0;
	return status;
}

/* Terminates the server and checks that it exits with success. */
static inline void wire_stop(struct server *s)
{
	int status;

	assert_int_equal(kill(s->pid, SIGTERM), 0);
	status = wire_wait(s);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static inline int wire_socket(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static inline json_t *wire_control(const struct server *s, const char *line)
{
	int fd = wire_socket(s->control);
	FILE *file = fdopen(fd, "r+");
	char text[65536];
	json_t *reply;

	assert_non_null(file);
	assert_int_equal(write(fd, line, strlen(line)), (ssize_t)strlen(line));
	assert_int_equal(write(fd, "\n", 1), 1);
	assert_non_null(fgets(text, sizeof(text), file));
	fclose(file);
	reply = json_loads(text, 0, NULL);
	assert_non_null(reply);
	return reply;
}

static inline void wire_tell(const struct server *s, const char *line)
{
	json_t *reply = wire_control(s, line);

	assert_null(json_object_get(reply, "error"));
	json_decref(reply);
}

static inline json_int_t wire_counter(const struct server *s, const char *key)
{
	json_t *report = wire_control(s, "{\"cmd\":\"report\"}");
	json_t *value = json_object_get(report, key);
	json_int_t number;

	assert_true(json_is_integer(value));
	number = json_integer_value(value);
	json_decref(report);
	return number;
}

static inline void wire_text(const struct server *s, const char *key, char *out, size_t room)
{
	json_t *report = wire_control(s, "{\"cmd\":\"report\"}");

	assert_true(json_is_string(json_object_get(report, key)));
	snprintf(out, room, "%s", json_string_value(json_object_get(report, key)));
	json_decref(report);
}

static inline void wire_send(struct client *c, uint16_t command, const void *body, size_t len,
	bool no_reply, const int *fds, unsigned fd_count)
{
	struct vfio_user_header header = vfio_user_command_header(++c->id, command, len, no_reply);
	struct iovec pieces[2] = {{&header, sizeof(header)}, {(void *)(uintptr_t)body, len}};

	assert_int_equal(
		vfio_user_send(c->fd, pieces, len ? 2 : 1, fds, fd_count, soon(), NULL, NULL), 0);
}

/* Receives the next reply: 0 or its errno. */
static inline int wire_receive(struct client *c)
{
	struct vfio_user_header header;
	struct swo_error err;

	vfio_user_fds_close(&c->fds);
	if (vfio_user_recv(c->fd, &header, c->reply, 8 * CHUNK, &c->fds, soon(), &err))
		fail_msg("no reply: %s", err.text);
	assert_true(vfio_user_is_reply(&header));
	assert_int_equal(header.id, c->id);
	c->len = vfio_user_payload(&header);
	return header.flags & VFIO_USER_ERROR ? (int)header.error : 0;
}

static inline int wire_ask(struct client *c, uint16_t command, const void *body, size_t len)
{
	wire_send(c, command, body, len, false, NULL, 0);
	return wire_receive(c);
}

static inline struct client wire_connect_raw(const struct server *s)
{
	struct client c = {.fd = wire_socket(s->socket), .twin = -1, .reply = malloc(8 * CHUNK)};

	assert_non_null(c.reply);
	return c;
}

static inline struct client wire_connect(const struct server *s, bool twin)
{
	static const char with[] = "\0\0\2\0{\"capabilities\":{\"x-switchover\":{},"
				   "\"twin_socket\":{\"supported\":true}}}";
	static const char without[] = "\0\0\2\0{\"capabilities\":{\"x-switchover\":{},"
				      "\"max_data_xfer_size\":512,\"max_msg_fds\":8}}";
	struct client c = wire_connect_raw(s);
	struct vfio_user_caps caps;

	assert_int_equal(twin ? wire_ask(&c, VFIO_USER_VERSION, with, sizeof(with))
			      : wire_ask(&c, VFIO_USER_VERSION, without, sizeof(without)),
		0);
	assert_int_equal(vfio_user_version_parse(c.reply, c.len, &caps, NULL), 0);
	assert_int_equal(caps.twin_socket, twin);
	assert_int_equal(caps.max_write, CHUNK);
	if (twin)
		c.twin = vfio_user_fds_take(&c.fds, (unsigned)caps.twin_fd_index);
	return c;
}

static inline void wire_close(struct client *c)
{
	vfio_user_fds_close(&c->fds);
	swo_close_fd(&c->fd);
	swo_close_fd(&c->twin);
	free(c->reply);
}

static inline int wire_feature(
	struct client *c, uint32_t flags, const void *data, size_t len, uint32_t room)
{
	uint8_t body[256];
	struct vfio_user_feature f = {.argsz = (uint32_t)sizeof(f) + room, .flags = flags};

	memcpy(body, &f, sizeof(f));
	if (len)
		memcpy(body + sizeof(f), data, len);
	return wire_ask(c, VFIO_USER_DEVICE_FEATURE, body, sizeof(f) + len);
}

static inline int wire_set_state(struct client *c, uint32_t state)
{
	struct vfio_user_mig_state body = {.device_state = state, .data_fd = UINT32_MAX};

	return wire_feature(c, VFIO_USER_FEATURE_SET | VFIO_USER_FEATURE_MIG_STATE, &body,
		sizeof(body), sizeof(body));
}

static inline uint32_t wire_state(struct client *c)
{
	struct vfio_user_mig_state body;

	assert_int_equal(
		wire_feature(c, VFIO_USER_FEATURE_GET | VFIO_USER_FEATURE_MIG_STATE, NULL, 0, 8),
		0);
	memcpy(&body, c->reply + sizeof(struct vfio_user_feature), sizeof(body));
	return body.device_state;
}

/* -errno, or the number of state bytes at c->reply + 8. */
static inline long wire_read(struct client *c, uint32_t size)
{
	struct vfio_user_mig_data body = {.argsz = 8 + size, .size = size};
	int rc = wire_ask(c, VFIO_USER_MIG_DATA_READ, &body, sizeof(body));

	if (rc)
		return -rc;
	assert_int_equal(c->len, 8 + size); /* padded */
	memcpy(&body, c->reply, sizeof(body));
	assert_true(body.size <= size);
	return body.size;
}

static inline int wire_write(struct client *c, const void *data, uint32_t size)
{
	uint8_t *body = malloc(8 + size);
	struct vfio_user_mig_data head = {.argsz = 8 + size, .size = size};
	int rc;

	memcpy(body, &head, 8);
	memcpy(body + 8, data, size);
	rc = wire_ask(c, VFIO_USER_MIG_DATA_WRITE, body, 8 + size);
	free(body);
	return rc;
}

static inline int wire_region_write(
	struct client *c, uint32_t region, uint64_t offset, const void *data, uint32_t len)
{
	uint8_t body[64];
	struct vfio_user_region_access access = {.offset = offset, .region = region, .count = len};

	memcpy(body, &access, sizeof(access));
	memcpy(body + sizeof(access), data, len);
	return wire_ask(c, VFIO_USER_REGION_WRITE, body, sizeof(access) + len);
}

static inline void wire_set(struct client *c, uint64_t reg, uint64_t value, uint32_t len)
{
	assert_int_equal(wire_region_write(c, SIMVF_BAR_REGS, reg, &value, len), 0);
}

static inline uint64_t wire_get(struct client *c, uint64_t reg, uint32_t len)
{
	struct vfio_user_region_access access = {
		.offset = reg, .region = SIMVF_BAR_REGS, .count = len};
	uint64_t value = 0;

	assert_int_equal(wire_ask(c, VFIO_USER_REGION_READ, &access, sizeof(access)), 0);
	assert_int_equal(c->len, sizeof(access) + len);
	memcpy(&value, c->reply + sizeof(access), len);
	return value;
}

/* A posted write, as a guest does. */
static inline void wire_doorbell(struct client *c, unsigned vcpu, uint64_t number)
{
	uint8_t body[24];
	struct vfio_user_region_access access = {
		.offset = SIMVF_DOORBELL(vcpu), .region = SIMVF_BAR_REGS, .count = 8};

	memcpy(body, &access, sizeof(access));
	memcpy(body + sizeof(access), &number, 8);
	wire_send(c, VFIO_USER_REGION_WRITE, body, sizeof(body), true, NULL, 0);
}

static inline int wire_map(struct client *c, uint64_t address, uint64_t size, int fd)
{
	struct vfio_user_dma_map map = {
		.argsz = sizeof(map), .flags = 3, .address = address, .size = size};

	wire_send(c, VFIO_USER_DMA_MAP, &map, sizeof(map), false, &fd, fd >= 0);
	return wire_receive(c);
}

/* The program's only argument is the path of the server. */
static inline bool wire_begin(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s SWITCHOVER-SIMVF\n", argv[0]);
		return false;
	}
	wire_program = argv[1];
	signal(SIGPIPE, SIG_IGN);
	strcpy(wire_dir, "/tmp/simvf-XXXXXX");
	return mkdtemp(wire_dir);
}

/* A file left behind is a failure, too. */
static inline int wire_end(int failed)
{
	if (rmdir(wire_dir))
		perror(wire_dir);
	else
		return failed;
	return failed ? failed : 1;
}

#endif
