#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# test_ends.sh SWITCHOVER: how a machine's process ends: by signals, and as a target whose migration
# has failed, with what its metrics then have. TAP.
switchover=$1
. "$(dirname "$0")/tap.sh"
pids=()
trap 'kill -9 "${pids[@]}" 2>/dev/null; rm -rf "$dir"' EXIT

# NAME OPTION...: a machine; its process is $!.
vm() {
	name=$1
	shift
	"$switchover" vm --accel native --ram 64M --journal none --qmp "unix:$dir/$name.qmp" "$@" \
		>>"$dir/out" 2>&1 &
	pids+=($!)
	for _ in {1..400}; do
		[ -S "$dir/$name.qmp" ] && return
		sleep 0.05
	done
	return 1
}

# PID STATUS: it ends within 20 s, with this status.
ends() {
	for _ in {1..400}; do
		kill -0 "$1" 2>/dev/null || {
			wait "$1"
			[ $? = "$2" ]
			return
		}
		sleep 0.05
	done
	return 1
}

# OPTION...: a target loses its source in pre-copy; its process is $target.
fails() {
	rm -f "$dir"/*.qmp "$dir/m"
	vm target --incoming "unix:$dir/m" "$@" && target=$! && vm source --fill-ram || return 1
	source=$!
	"$switchover" migrate --qmp "unix:$dir/source.qmp" --param max-bandwidth=1048576 --detach \
		"unix:$dir/m" >>"$dir/out" 2>&1 || return 1
	for _ in {1..400}; do
		grep -q "target.*active" "$dir/out" && break
		sleep 0.05
	done
	kill -9 $source
	wait $source 2>/dev/null
	for _ in {1..400}; do
		grep -q "target.*migration failed" "$dir/out" && return
		sleep 0.05
	done
	return 1
}

# What is in the file of the target's --metrics, within 20 s.
counts() {
	for _ in {1..400}; do
		grep -qxF "switchover_migrations_total{vm=\"target\",outcome=\"failed\"} $1" "$dir/vm.prom" && return
		sleep 0.05
	done
	return 1
}

echo 1..8
: >"$dir/out"
for signal in TERM INT HUP; do
	rm -f "$dir"/*.qmp
	vm idle && kill -$signal $! && ends $! 0
	result $? "SIG$signal ends a machine, with status 0"
done
(
	trap '' HUP
	vm nohup && kill -HUP $! && sleep 0.5 && kill -TERM $! && ends $! 0
)
result $? "SIGHUP does not end a machine under nohup"
fails --exit-on-error --name target --metrics "$dir/vm.prom" && ends "$target" 1
result $? "with --exit-on-error a target whose migration has failed ends, with status 1"
counts 1 && [ "$(stat -c %a "$dir/vm.prom")" = 644 ] && [ ! -e "$dir/vm.prom.$target" ]
result $? "its metrics have that migration"
: >"$dir/out"
rm -f "$dir/vm.prom"
fails --name target --metrics "$dir/vm.prom" && kill -0 "$target"
result $? "without it the target stays"
counts 1 && kill -0 "$target"
result $? "and its metrics have that migration, too"
