#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# test_browser.sh SWITCHOVER - makes reports and looks at them
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$here/make" "$1" "$work"
"$here/browser" "$work/pair.html" "$work/many.html" "$work/hostile.html"
