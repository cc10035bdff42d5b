/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cut.h - a link that can be cut: passes UNIX connections on to another socket
 * until told to drop them all.
 */
#ifndef TESTS_E2E_CUT_H
#define TESTS_E2E_CUT_H

#include "switchover/base.h"

struct cut;

/* Listens on `path` and connects to `to` for each who comes. NULL: it could not. */
struct cut *cut_start(const char *path, const char *to);
/* Drops every connection, and whoever comes from now on; on: lets new ones pass again. */
void cut_set(struct cut *cut, bool on);
/* From now on: drops every connection, as cut_set(off), when a GO is about to pass; it does not. */
void cut_at_go(struct cut *cut);
void cut_stop(struct cut *cut);

#endif
