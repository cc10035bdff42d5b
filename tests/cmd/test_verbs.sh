#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# test_verbs.sh SWITCHOVER [LEFT_OUT...]: the verbs, those that this build leaves out, and invalid
# usage. Prints TAP.
program=$1
shift
. "$(dirname "$0")/../support/verbs.sh"

check "without a verb the verbs are printed" 2 "migrate"
check "help lists the verbs" 0 "resolve" --help
check "the version is printed" 0 "switchover 0." --version
check "an unknown verb is named" 2 "unknown verb 'fly'" fly
for verb in vm migrate status cancel resolve exec observe report bench plan probe; do
	case " $* " in
	*" $verb "*) check "$verb was left out, and is refused by name" 2 "'$verb' is not part of this build (-D" $verb --help ;;
	*)
		check "$verb explains itself" 0 "--help" $verb --help
		check "help $verb is the same" 0 "--help" help $verb
		check "$verb has the version" 0 "switchover 0." $verb --version
		check "$verb refuses an option that there is not, as usage" 2 "no-such-option" $verb --no-such-option
		;;
	esac
done
check "help of an unknown verb names it" 2 "unknown verb 'fly'" help fly
json=$(mktemp)
check "--json=FILE writes there, and nothing else" 0 "" plan --vfs 1 --json="$json"
if [ -z "$printed" ] && grep -q '"vfs":1' "$json"; then echo "ok $((number + 1)) - the file has it"; else echo "not ok $((number + 1)) - the file has it"; fi
number=$((number + 1))
rm -f "$json"
check "--json=FILE that cannot be written is named" 1 "--json: cannot write '/proc/no/file'" plan --vfs 1 --json=/proc/no/file
check "migrate: a name for TLS that is too long" 2 "255 characters" migrate --tls-hostname "$(printf %300s x)"
check "migrate: no timeout is longer than a day" 2 "86400" migrate --qmp unix:/x --timeout 86401 unix:/y
check "to run here without fencing is refused" 2 "fence the target" resolve --run-here 00000000-0000-4000-8000-000000000001
check "a word without a migration is refused" 2 "missing migration ID" resolve --runs-there
check "an id that is none is refused" 2 "not a migration ID" resolve ../../etc/passwd
check "36 characters of a UUID are not yet one" 2 "not a migration ID" resolve 0000000000000000000000000000000000-0
case " $* " in
*" vm "*) ;;
*)
	check "vm: a kind of TLS that there is not" 2 "auto, x509 or psk" vm --tls-kind rot13
	check "a machine's UUID that is none is refused" 2 "malformed UUID" vm --uuid x
	;;
esac
done_checking
