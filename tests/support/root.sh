# SPDX-License-Identifier: BSD-3-Clause
# root.sh, sourced: the project's sources in a folder of their own, and root folders of Debian
# releases, made by mmdebstrap, in which they are built and used. Needs root but for the sources.
mirror=${LAB_MIRROR:-http://deb.debian.org/debian}

# copy_sources TOP TO: what git has, or all but the builds where there is no git
copy_sources() {
	rm -rf "$2"
	mkdir -p "$2"
	if [ -e "$1/.git" ]; then
		git -C "$1" ls-files -z | tar -C "$1" -c --null --no-recursion -T - -f -
	else
		tar -C "$1" -c --exclude='./build*' -f - .
	fi | tar -x -C "$2" -f -
}

# make_root ROOT RELEASE PACKAGES [MORE]: made once for these packages; the log is ROOT.log. MORE is
# a further option of mmdebstrap.
make_root() {
	[ "$(cat "$1.done" 2>/dev/null)" != "$3" ] || return 0
	rm -rf "$1" "$1.done"
	mmdebstrap --quiet --variant=apt --include="$3" ${4:+"$4"} "$2" "$1" "$mirror" >"$1.log" 2>&1 || return 1
	echo "$3" >"$1.done"
}

# in_root ROOT COMMAND [SHARED]: with the network of this machine, and the folder SHARED under the
# same path. In a mount namespace of its own, so that nothing stays mounted.
in_root() {
	# shellcheck disable=SC2016
	unshare -m --propagation private sh -ec '
		mount -t proc proc "$0/proc"
		mount --rbind /dev "$0/dev"
		if [ -n "$2" ]; then
			mkdir -p "$0$2"
			mount --rbind "$2" "$0$2"
		fi
		exec chroot "$0" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
			DEBIAN_FRONTEND=noninteractive sh -ec "$1"' "$1" "$2" "${3:-}"
}
