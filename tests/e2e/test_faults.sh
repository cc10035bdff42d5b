#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# test_faults.sh SWITCHOVER [--quick]: the fault matrix, a part or all of it. TAP.
exec "$1" bench --faults --tap --jobs 2 $2
