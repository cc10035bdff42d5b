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
for verb in vm migrate resolve exec observe bench plan probe; do
	case " $* " in
	*" $verb "*) check "$verb was left out, and is refused by name" 2 "'$verb' is not part of this build (-D" $verb --help ;;
	*) check "$verb explains itself" 0 "--help" $verb --help ;;
	esac
done
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
