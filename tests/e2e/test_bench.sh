#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# test_bench.sh SWITCHOVER: the command itself: what it writes, and that nothing outlives it. TAP.
switchover=$1
. "$(dirname "$0")/tap.sh"

# Processes that were started for this directory.
left() {
	# The brackets keep grep from finding itself.
	grep -lsa "$dir/switchover-la[b]" /proc/[0-9]*/cmdline | wc -l
}

# Waits until a guest is being migrated or about to be, and says which process the bench is.
start() {
	"$switchover" bench --accel native --ram 64M --vcpus 1 --vfs 2 --transitions parallel \
		--runs 50 >"$dir/out" 2>&1 &
	bench=$!
	tries=0
	while [ "$(left)" -lt 6 ] && [ $tries -lt 300 ]; do
		sleep 0.1
		tries=$((tries + 1))
	done
	sleep 0.5
}

gone() {
	tries=0
	while [ "$(left)" -gt 0 ] && [ $tries -lt 100 ]; do
		sleep 0.1
		tries=$((tries + 1))
	done
	[ "$(left)" -eq 0 ]
}

echo 1..8
"$switchover" bench --accel native --ram 64M --vcpus 1 --vfs 1,2 --transitions serial,parallel \
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
[ "$(ls "$dir")" = "line.json
line.trace.json
out
rows" ]
result $? "nothing else is left in the directory"

# Arcs of 125 ms are large against what the machine adds, which may be much on a busy one; much shorter
# than its arcs no run can be.
"$switchover" bench --accel native --ram 64M --vcpus 1 --vfs 1,4 --transitions serial,parallel \
	--profile even --runs 1 --json "$dir/even" >"$dir/out" 2>&1
awk 'function after(key) { return substr($0, index($0, key) + length(key)) + 0 }
	{
		ratio = after("\"predicted_ratio\":")
		good += ratio > 0.6 && ratio < 1.1
	}
	END { exit good != 4 }' "$dir/even" && grep -q '^Predicted by the model' "$dir/out"
result $? "each row has a prediction that fits the blackout that was measured"
# The wire is the difference: plan is told of none here.
"$switchover" plan --profile even --vfs 1,4 --json >"$dir/plan"
awk 'function after(key) { return substr($0, index($0, key) + length(key)) + 0 }
	FILENAME ~ /plan$/ { planned[after("\"vfs\":")] = after("\"pipelined_ms\":"); next }
	/"parallel"/ {
		off = after("\"predicted_ms\":") - planned[after("\"vfs\":")]
		good += off > -0.01 && off < 20
	}
	END { exit good != 2 }' "$dir/plan" "$dir/even"
result $? "it is what plan says for the same profile and number of VFs"
rm "$dir/even" "$dir/plan"

start
kill -INT $bench
wait $bench
[ $? = 130 ] && gone && ! ls -d "$dir"/switchover-lab.* >/dev/null 2>&1
result $? "an interrupt ends it with 130, and every process and file with it"

start
kill -KILL $bench
wait $bench 2>/dev/null
gone
result $? "when it is killed outright no process outlives it"
rm -rf "$dir"/switchover-lab.*

"$switchover" bench --accel native --profile nope --vfs 1 --runs 1 >"$dir/out" 2>&1
[ $? = 1 ] && grep -q "nope" "$dir/out" && gone
result $? "a device that does not start is named with its own words, and the status is 1"
