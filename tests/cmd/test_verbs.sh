#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# test_verbs.sh SWITCHOVER: the verbs of both programs, and invalid usage. Prints TAP.
switchover=$1
bench=$(dirname "$1")/switchover-bench
program=$switchover
number=0

# check NAME WANTED_STATUS WANTED_TEXT ARGUMENT...
check() {
	name=$1 wanted=$2 text=$3
	shift 3
	number=$((number + 1))
	said=$("$program" "$@" 2>&1)
	status=$?
	case $said in
	*"$text"*) found=yes ;;
	*) found=no ;;
	esac
	if [ $status = "$wanted" ] && [ $found = yes ]; then
		echo "ok $number - $name"
	else
		echo "not ok $number - $name"
		echo "status $status, said: $said" | sed "s/^/# /"
	fi
}

echo 1..48
check "without a verb the verbs are printed" 2 "migrate"
check "help lists the verbs" 0 "resolve" --help
check "help names the other program" 0 "switchover-bench starts" --help
check "the version is said" 0 "switchover 0." --version
check "an unknown verb is named" 2 "unknown verb 'fly'" fly
check "migrate explains itself" 0 "Exit status" migrate --help
check "bench explains itself" 0 "Exit status" bench --help
check "vm explains itself" 0 "--device" vm --help
check "no number of VFs" 2 "--vfs" bench --vfs ''
check "no VF at all" 2 "from 1 to" bench --vfs 1,0
check "a number that is none" 2 "got '4x'" bench --vfs 4x
check "transitions of another kind" 2 "serial parallel" bench --transitions sideways
check "a part of a word" 2 "unix tcp" bench --channel uni
check "more channels than there can be" 2 "from 1 to 16" bench --channels 17
check "an option that excludes another" 2 "exclude" bench --pf a --pfs 2
check "a kind of TLS that there is not" 2 "x509 psk" bench --tls rot13
check "vm: a kind of TLS that there is not" 2 "auto, x509, psk" vm --tls-kind rot13
check "migrate: a name for TLS that is too long" 2 "255 characters" migrate --tls-hostname "$(printf %300s x)"
check "something that is no option" 2 "'now'" bench now
check "resolve explains itself" 0 "Exit status" resolve --help
check "to run here without fencing is refused" 2 "fence the target off" resolve --run-here 00000000-0000-4000-8000-000000000001
check "a word without a migration is refused" 2 "which migration" resolve --runs-there
check "an id that is none is refused" 2 "no migration's id" resolve ../../etc/passwd
check "a machine's UUID that is none is refused" 2 "is not a UUID as uuidgen prints it" vm --uuid x
# The options of 0.1 choose the verb.
check "bench says what it starts" 0 'starting `switchover-bench run`' bench --help
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

program=$bench
check "switchover-bench: without a verb the verbs are printed" 2 "calibrate"
check "switchover-bench: help lists the verbs" 0 "soak" --help
check "switchover-bench: the version is printed" 0 "switchover-bench 0." --version
check "switchover-bench: an unknown verb is named" 2 "unknown verb 'fly'" fly
for verb in run ablate scale calibrate faults soak; do
	check "switchover-bench $verb explains itself" 0 "Exit status" $verb --help
done
check "an option of another verb" 2 "unrecognized option" ablate --transitions serial
check "no case of the fault matrix matches" 2 "no case matches" faults --only nothing
check "the fault matrix is listed" 0 "target/precopy" faults --list
