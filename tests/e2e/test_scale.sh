#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# test_scale.sh BENCH: many devices, and limits that are too small for them. TAP.
bench=$1
. "$(dirname "$0")/tap.sh"

# VFS PROFILE
migrates() {
	"$bench" run --vfs "$1" --profile "$2" --transitions parallel --runs 1 >"$dir/out" 2>&1 &&
		grep -q '^1 migrations: doorbells lost 0, repeated 0' "$dir/out"
}

echo 1..3
(
	ulimit -n 60
	"$bench" run --vfs 16 --profile instant --transitions parallel --runs 1
) >"$dir/out" 2>&1
[ $? = 1 ] && grep -q 'no more than 60 open files for this process; raise the limit' "$dir/out" &&
	[ "$(grep -c 'open files' "$dir/out")" = 1 ]
result $? "with too few open files for its devices the VMM names the limit, in one error"
migrates 64 even
result $? "a VM with 64 devices whose arcs take their time migrates whole"
migrates 128 instant
result $? "a VM with 128 devices migrates whole"
