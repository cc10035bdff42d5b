/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * verbs.h - the verbs of `switchover`: one folder a verb.
 */
#ifndef CMD_COMMON_VERBS_H
#define CMD_COMMON_VERBS_H

int cmd_bench(int argc, char **argv);
int cmd_cancel(int argc, char **argv);
int cmd_exec(int argc, char **argv);
int cmd_migrate(int argc, char **argv);
int cmd_observe(int argc, char **argv);
int cmd_plan(int argc, char **argv);
int cmd_probe(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_resolve(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_vm(int argc, char **argv);

#endif
