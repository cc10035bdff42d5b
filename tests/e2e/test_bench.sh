#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# test_bench.sh SWITCHOVER: switchover-bench as a program: what it writes, and that nothing outlives it. TAP.
build=$(cd "$(dirname "$1")" && pwd)
switchover=$build/switchover
program=$build/switchover-bench
. "$(dirname "$0")/tap.sh"

# Processes that were started for this directory.
left() {
	# The brackets keep grep from finding itself.
	grep -lsa "$dir/switchover-pai[r]" /proc/[0-9]*/cmdline | wc -l
}

# start ARGUMENT...: waits until a guest is being migrated or about to be; $bench is the program's
# process.
start() {
	"$program" "$@" >"$dir/out" 2>&1 &
	bench=$!
	tries=0
	while [ "$(left)" -lt 6 ] && [ $tries -lt 300 ]; do
		sleep 0.1
		tries=$((tries + 1))
	done
	sleep 0.5
}

# interrupted SENTENCE: the program ends with 130, and every process and folder with it.
interrupted() {
	started=$(left)
	tries=0
	while [ "$started" -lt 6 ] && [ $tries -lt 100 ]; do # between two cases there are fewer
		sleep 0.1
		started=$(left)
		tries=$((tries + 1))
	done
	kill -INT $bench
	since=$(date +%s)
	wait $bench
	[ $? = 130 ] && [ "$started" -ge 6 ] && gone && ! ls -d "$dir"/switchover-pair.* >/dev/null 2>&1 &&
		[ $(($(date +%s) - since)) -le 8 ] # what a case waits for adds up to 13 s and more
	result $? "$1"
}

gone() {
	tries=0
	while [ "$(left)" -gt 0 ] && [ $tries -lt 100 ]; do
		sleep 0.1
		tries=$((tries + 1))
	done
	[ "$(left)" -eq 0 ]
}

echo 1..27
"$program" run --accel native --ram 64M --vcpus 1 --vfs 1,2 --transitions serial,parallel \
	--profile instant --runs 1 --json "$dir/rows" --timeline "$dir/line.json" >"$dir/out" 2>&1
status=$?
[ $status = 0 ] && [ "$(wc -l <"$dir/rows")" = 4 ] &&
	grep -q '"vfs":2,"transitions":"parallel","profile":"instant"' "$dir/rows" &&
	grep -q '"spans"' "$dir/line.json" && grep -q traceEvents "$dir/line.trace.json" &&
	grep -q '^improvement' "$dir/out" && grep -q 'median run of 2 VFs' "$dir/out"
result $? "rows, table, timeline and picture are written, and the status is 0"
# One run a row, so that its blackout is the median.
awk -F'"' 'function after(key) { return substr($0, index($0, key) + length(key)) + 0 }
	{
		blackout = after("\"median\":")
		sum = after("\"critical_path_sum_ms\":")
		good += index($0, "RUNNING_P2P->RUNNING") && sum > 0.99 * blackout &&
			sum < 1.01 * blackout
	}
	END { exit good != 4 }' "$dir/rows" && [ "$(grep -c '^Critical path' "$dir/out")" = 4 ]
result $? "each row has a critical path that adds up to its blackout"
[ "$(LC_ALL=C ls "$dir")" = "line-1-parallel.json
line-1-serial.json
line-2-serial.json
line.json
line.trace.json
out
rows" ]
result $? "the timelines of all rows are there, and nothing else"

# Arcs of 125 ms are large against what the machine adds, which may be much on a busy one; much shorter
# than its arcs no run can be.
"$program" run --accel native --ram 64M --vcpus 1 --vfs 1,4 --transitions serial,parallel \
	--profile even --runs 1 --json "$dir/even" >"$dir/out" 2>&1
awk 'function after(key) { return substr($0, index($0, key) + length(key)) + 0 }
	{
		ratio = after("\"predicted_ratio\":")
		good += ratio > 0.6 && ratio < 1.1
	}
	END { exit good != 4 }' "$dir/even" && grep -q '^Predicted by the model' "$dir/out"
result $? "each row has a prediction that fits the blackout that was measured"
# The wire is the difference: plan has none here.
"$switchover" plan --profile even --vfs 1,4 --json >"$dir/plan"
awk 'function after(key) { return substr($0, index($0, key) + length(key)) + 0 }
	FILENAME ~ /plan$/ { planned[after("\"vfs\":")] = after("\"pipelined_ms\":"); next }
	/"parallel"/ {
		off = after("\"predicted_ms\":") - planned[after("\"vfs\":")]
		good += off > -0.01 && off < 20
	}
	END { exit good != 2 }' "$dir/plan" "$dir/even"
result $? "it is the prediction of plan for the same profile and number of VFs"
rm "$dir/even" "$dir/plan"

few="--accel native --ram 64M --vcpus 1 --vfs 2"
"$program" run $few --profile instant --transitions parallel --runs 2 --stop-writes 64 --late-dma >"$dir/out" 2>&1
[ $? = 0 ] && grep -q '^pages written in the stop: 64$' "$dir/out" && grep -q 'in memory 0$' "$dir/out"
result $? "pages that the VMM and its devices write in the stop arrive"

start run $few --transitions parallel --runs 50
interrupted "an interrupt ends it with 130, and every process and file with it"
start soak --hops 100000
interrupted "an interrupt ends soak with 130, and every process and file with it"
start faults --only '*/arc-hang/*'
interrupted "an interrupt ends faults with 130, and every process and file with it"

start run $few --transitions parallel --runs 50
started=$(left)
kill -KILL $bench
wait $bench 2>/dev/null
[ "$started" -ge 6 ] && gone
result $? "when it is killed outright no process outlives it"
rm -rf "$dir"/switchover-pair.*

# refuses STATUS TEXT SENTENCE ARGUMENT...: nothing is started, no file and no folder is left.
refuses() {
	wanted=$1 text=$2 sentence=$3
	shift 3
	before=$(ls "$dir")
	"$program" "$@" >"$dir/out" 2>&1
	[ $? = "$wanted" ] && grep -qe "$text" "$dir/out" && [ "$(wc -l <"$dir/out")" = 1 ] &&
		[ "$(ls "$dir")" = "$before" ] && gone
	result $? "$sentence"
}

: >"$dir/out"
refuses 2 "--profile: .*'nope'" "a profile that does not exist is refused, and nothing is started" \
	run --profile nope
refuses 2 "--ram: expected whole MiB" "a size of RAM that no machine can have is refused" run --ram 7M
refuses 1 "--json: open '$dir/none/rows'" "a file that cannot be written is refused before anything is measured" \
	run --json "$dir/none/rows"
refuses 1 "--timeline: cannot write '$dir'" "a directory is no timeline" run --timeline "$dir"
mkdir "$dir/x.trace.json"
refuses 1 "--timeline: cannot write '$dir/x.trace.json'" "nor is one whose Chrome trace cannot be written" \
	run --timeline "$dir/x.json"
refuses 2 "same file" "two outputs in one file are refused" run --json "$dir/x" --timeline "$dir/x"
refuses 1 "--costs: open '$dir/none'" "a file of costs that is not there is refused" run --costs "$dir/none"
refuses 2 "--output is required" "calibrate without a file is refused" calibrate
refuses 2 "one number from 2" "calibrate takes one number of devices" calibrate --output "$dir/x" --vfs 1,2
refuses 2 "leave them out" "ablate does not take the switches that it tries itself" ablate --stream late
refuses 1 "--json: open '$dir/none/row'" "soak does not start when it could not write its row" \
	soak --hops 2 --json "$dir/none/row"
refuses 2 "--profile: .*'nope'" "soak refuses a profile that does not exist" soak --profile nope
refuses 1 "--json: open '$dir/none/row'" "no fault case runs when its row could not be written" \
	faults --only 'source/*' --json "$dir/none/row"
refuses 2 "--backend kernel: no device" "devices that this kernel does not have are refused" \
	run --backend kernel --vfs 256

# A folder of programs of which one is missing, or does not start.
mkdir -p "$dir/p/testbed/yardstick"
cp "$program" "$dir/p/"
program="$dir/p/switchover-bench"
refuses 1 "the program '$dir/p/switchover'" "a program that is not there is named" run
ln -s "$switchover" "$dir/p/switchover"
ln -s "$build/testbed/yardstick/chain" "$dir/p/testbed/yardstick/chain"
ln -s /bin/false "$dir/p/switchover-simvf"
refuses 1 "device vf0 ended by itself with status 1" "a device that does not start is named, and leaves nothing" \
	run --vfs 1 --runs 1 --ram 64M
rm "$dir/p/switchover-simvf"
ln -s "$build/switchover-simvf" "$dir/p/switchover-simvf"
rm "$dir/p/switchover"
ln -s /bin/false "$dir/p/switchover"
refuses 1 "source ended by itself with status 1" "a machine that does not start is named, and leaves nothing" \
	run --vfs 1 --runs 1 --ram 64M --accel native
