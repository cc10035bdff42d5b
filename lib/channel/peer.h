/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * peer.h - whose process is at the other end of a UNIX socket.
 */
#ifndef CHANNEL_PEER_H
#define CHANNEL_PEER_H

#include "switchover/base.h"

/*
 * True when it is this user's, or root's. A socket's mode keeps others out already, unless somebody
 * changes it, or hands a connection on.
 */
bool swo_peer_is_ours(int fd);

#endif
