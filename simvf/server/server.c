/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server.c - creates and destroys the parts: the device and its memory, the sockets, the PF.
 */
#include "server.h"

#include "base/net.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int srv_listen(const char *path, int *out, struct swo_error *err)
{
	struct base_address address;

	if (base_unix_unlink_stale(path, err) || base_unix_address(path, &address, err))
		return -1;

	int rc = base_listen(&address, 16, out);

	return rc ? swo_error_set(err, SWO_E_IO, rc, "cannot listen on '%s'", path) : 0;
}

static int make_inbox(struct srv *s, struct swo_error *err)
{
	s->inbox_fd = memfd_create("switchover-simvf-inbox", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (s->inbox_fd < 0 || ftruncate(s->inbox_fd, SIMVF_BAR_INBOX_SIZE))
		return swo_error_set(err, SWO_E_IO, errno, "inbox");
	/* a client that receives the fd cannot truncate the file */
	fcntl(s->inbox_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	s->inbox = mmap(
		NULL, SIMVF_BAR_INBOX_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, s->inbox_fd, 0);
	if (s->inbox == MAP_FAILED) {
		s->inbox = NULL;
		return swo_error_set(err, SWO_E_IO, errno, "inbox");
	}
	return 0;
}

static int make_device(struct srv *s, struct swo_error *err)
{
	const struct srv_args *a = s->args;
	struct svf_config config = {.profile = a->profile,
		.mig_flags = a->mig_flags,
		.seed = a->seed,
		.arcs_reserve = a->pf_arcs,
		.late_dma = a->late_dma,
		.ops = &srv_device_ops,
		.opaque = s,
		.inbox = s->inbox};

	s->dev = malloc(sizeof(*s->dev));
	s->memory = config.memory = malloc(svf_memory_size(a->profile.state_bytes));
	if (!s->dev || !s->memory)
		return swo_error_set(err, SWO_E_NO_MEMORY, 0, "device");
	if (svf_init(s->dev, &config, swo_now_ns()))
		return swo_error_set(
			err, SWO_E_INVALID, 0, "invalid profile: its figures are out of bounds");
	for (unsigned i = 0; i < a->fault_count; i++)
		svf_add_fault(s->dev, &a->faults[i]);
	return 0;
}

int srv_open(struct srv *s, const struct srv_args *args, struct swo_error *err)
{
	memset(s, 0, sizeof(*s));
	s->args = args;
	s->listen_fd = s->inbox_fd = s->control_fd = -1;
	srv_conn_init(&s->conn);
	for (unsigned i = 0; i < SIMVF_MSIX_VECTORS; i++)
		s->irq[i] = -1;
	for (unsigned i = 0; i < SRV_CONTROLS; i++)
		s->controls[i].fd = -1;
	if (make_inbox(s, err) || make_device(s, err))
		return -1;
	if (args->pf && srv_pf_open(args->pf_dir, args->pf, &s->pf, err))
		return -1;
	/* The control socket comes last: once it exists, the device's does too. */
	if (srv_listen(args->socket, &s->listen_fd, err))
		return -1;
	return args->control ? srv_listen(args->control, &s->control_fd, err) : 0;
}

void srv_close(struct srv *s)
{
	if (s->dev)
		srv_conn_drop(s);
	free(s->maps);
	for (unsigned i = 0; i < SRV_CONTROLS; i++)
		srv_control_drop(&s->controls[i]);
	if (s->listen_fd >= 0)
		unlink(s->args->socket);
	if (s->control_fd >= 0)
		unlink(s->args->control);
	swo_close_fd(&s->listen_fd);
	swo_close_fd(&s->control_fd);
	srv_pf_close(s->pf);
	if (s->inbox)
		munmap(s->inbox, SIMVF_BAR_INBOX_SIZE);
	swo_close_fd(&s->inbox_fd);
	free(s->dev);
	free(s->memory);
}
