#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# test_faults.sh SWITCHOVER [OPTION...]: the fault matrix, a part or all of it. TAP.
switchover=$1
shift
exec "$switchover" bench --faults --tap --jobs 2 "$@"
