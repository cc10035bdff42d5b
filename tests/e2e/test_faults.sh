#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# test_faults.sh BENCH [OPTION...]: the fault matrix, a part or all of it. TAP.
bench=$1
shift
exec "$bench" faults --tap --jobs 2 "$@"
