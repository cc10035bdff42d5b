# SPDX-License-Identifier: BSD-3-Clause
# Completion for bash: verbs and options are read from --help, so that they are those of the
# installed version; other words are files.
_switchover() {
	local word=${COMP_WORDS[COMP_CWORD]} program=${COMP_WORDS[0]} verb= text
	[ "$COMP_CWORD" -lt 2 ] || verb=${COMP_WORDS[1]}
	COMPREPLY=()
	if [ -z "$verb" ]; then
		text=$("$program" --help 2>/dev/null | sed -n 's/^  \([a-z][a-z-]*\) .*/\1/p')
		[[ $word != -* ]] || text='--help --version'
	elif [[ $word == -* ]]; then
		text=$("$program" "$verb" --help 2>/dev/null | grep -oE '(^|[ ,])--[a-z][a-z0-9-]*' | tr -d ' ,')
	else
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
	fi
	mapfile -t COMPREPLY < <(compgen -W "$text" -- "$word")
}
complete -o filenames -F _switchover switchover switchover-bench
