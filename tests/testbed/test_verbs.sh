#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# test_verbs.sh SWITCHOVER: the verbs of switchover-bench, invalid usage, and the options by which
# `switchover bench` chose them until 0.1. Prints TAP.
. "$(dirname "$0")/../support/verbs.sh"

program=$(dirname "$1")/switchover-bench
check "without a verb the verbs are printed" 2 "calibrate"
check "help lists the verbs" 0 "soak" --help
check "the version is printed" 0 "switchover-bench 0." --version
check "an unknown verb is named" 2 "unknown verb 'fly'" fly
for verb in run ablate scale calibrate faults soak; do
	check "$verb explains itself" 0 "Exit status" $verb --help
	check "$verb takes no argument" 2 "unexpected argument 'now'" $verb now
done
check "no number of VFs" 2 "--vfs" run --vfs ''
check "a number of VFs is missing in the list" 2 "--vfs: expected a number from 1 to 256, got ''" run --vfs 1,,2
check "no VF at all" 2 "from 1 to" run --vfs 1,0
check "a number that is none" 2 "got '4x'" run --vfs 4x
check "transitions of another kind" 2 "serial parallel" run --transitions sideways
check "a part of a word" 2 "unix tcp" run --channel uni
check "more channels than there can be" 2 "from 1 to 16" run --channels 17
check "an option that excludes another" 2 "exclude" run --pf a --pfs 2
check "RAM handed over needs a UNIX socket" 2 "--handover fd needs --channel unix" run --handover fd --channel tcp
check "the kernel's devices have named profiles" 2 "--profile: expected a name" run --backend kernel --profile ./x.ini
check "a kind of TLS that there is not" 2 "x509 psk" run --tls rot13
check "an option of another verb" 2 "unrecognized option" ablate --transitions serial
check "no case of the fault matrix matches" 2 "no case matches" faults --only nothing
check "the fault matrix is listed" 0 "target/precopy" faults --list
dir=$(mktemp -d /tmp/swt.XXXXXX) || exit 99
trap 'rm -rf "$dir"' EXIT
check "the fault matrix is listed as JSON" 0 "" faults --list --json "$dir/list"
kinds=$(sed 's/.*"side":"\([a-z]*\)","phase":"\([^"]*\)","fault":"\([^"]*\)".*/\1 \2 \3/' "$dir/list" | sort -u | wc -l)
cases=$(sed -n 's/.*"case":"\([^"]*\)".*/\1/p' "$dir/list" | sort -u | wc -l)
number=$((number + 1))
ok=not
[ "$cases" = "$(wc -l <"$dir/list")" ] && [ "$cases" -ge 1000 ] && [ "$kinds" -ge 500 ] && ok=
echo "${ok:+not }ok $number - its cases have names of their own, and many kinds ($cases, $kinds)"
check "no seed" 2 "--seed: expected" soak --random-faults --seed 0
check "no hop" 2 "--hops: expected" soak --hops 0

program=$1
check "help of switchover names the program" 0 "switchover-bench starts" --help
check "bench prints what it starts" 0 'starting `switchover-bench run`' bench --help
check "bench --faults" 0 'starting `switchover-bench faults`' bench --faults --help
check "bench --soak N" 2 "--hops: expected" bench --soak 0
check "bench --soak=N" 2 "--hops: expected" bench --soak=x
check "bench --soak without a number" 2 "--hops" bench --soak
check "bench --ablate" 2 "leave them out" bench --ablate --stream late
check "bench --scale=N" 2 "--max-vfs: expected" bench --scale=0
check "bench --scale does not take the next argument" 2 "unexpected argument '4'" bench --scale 4
check "bench --calibrate FILE" 2 "one number" bench --calibrate /tmp/x --vfs 1,2
check "bench --calibrate of devices that cost something" 2 "instant" bench --calibrate /tmp/x --profile even
check "bench: two of them" 2 "exclude" bench --ablate --scale
program=$(dirname "$1")/switchover-simvf
check "the simulated device has the same version" 0 "switchover-simvf 0." --version
done_checking
