# SPDX-License-Identifier: BSD-3-Clause
# verbs.sh, sourced: checks of what $program prints and returns for its arguments. The plan follows
# at the end, by `done_checking`.
number=0

# check NAME STATUS TEXT ARGUMENT...
check() {
	name=$1 wanted=$2 text=$3
	shift 3
	number=$((number + 1))
	printed=$("$program" "$@" 2>&1)
	status=$?
	case $printed in
	*"$text"*) found=yes ;;
	*) found=no ;;
	esac
	if [ $status = "$wanted" ] && [ $found = yes ]; then
		echo "ok $number - $name"
	else
		echo "not ok $number - $name"
		echo "status $status, printed: $printed" | sed "s/^/# /"
	fi
}

done_checking() {
	echo "1..$number"
}
