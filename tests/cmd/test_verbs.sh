#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# test_verbs.sh SWITCHOVER: verbs, and command lines that make no sense. Speaks TAP.
switchover=$1
number=0

# check NAME WANTED_STATUS WANTED_TEXT ARGUMENT...
check() {
	name=$1 wanted=$2 text=$3
	shift 3
	number=$((number + 1))
	said=$("$switchover" "$@" 2>&1)
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

echo 1..23
check "without a verb it says which there are" 2 "migrate"
check "help lists the verbs" 0 "bench" --help
check "the version is said" 0 "switchover 0." --version
check "a verb that there is not is named" 2 "no verb 'fly'" fly
check "migrate explains itself" 0 "Exit status" migrate --help
check "bench explains itself" 0 "Exit status" bench --help
check "vm explains itself" 0 "--device" vm --help
check "no number of VFs" 2 "--vfs" bench --vfs ''
check "no VF at all" 2 "from 1 to" bench --vfs 1,0
check "a number that is none" 2 "not '4x'" bench --vfs 4x
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
check "a machine's UUID that is none is refused" 2 "--uuid wants" vm --uuid x
