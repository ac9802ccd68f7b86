#!/usr/bin/env bash
# Whether the committed components are what their sources give: ci/compare.sh BUILT
#
# Byte by byte, where they were built with the same tools. Where a tool is another one (Debian replaces its compiler in
# place), their bytes cannot be compared; then the sources must be those the committed ones were built from.
set -euo pipefail

built=$1
dist=$(dirname "${BASH_SOURCE[0]}")/../dist

told() { sed -n "s/^$2: //p" "$1/built-with"; }

language() {
	case $1 in
	script) echo js ;;
	*-c) echo c ;;
	*) echo rust ;;
	esac
}

differs=0
for component in "$dist"/*.wasm; do
	name=$(basename "$component" .wasm)
	tools=$(language "$name")
	if [[ $(told "$dist" "$tools") == "$(told "$built" "$tools")" ]]; then
		cmp "$component" "$built/$name.wasm" >&2 && verdict="the same" || { verdict="DIFFERS"; differs=1; }
	elif [[ $(told "$dist" sources) == "$(told "$built" sources)" ]]; then
		verdict="not comparable: built with $(told "$dist" "$tools"), here $(told "$built" "$tools"); the sources are the same"
	else
		verdict="OUT OF DATE: other tools and other sources"
		differs=1
	fi
	echo "plugins/dist/$name.wasm: $verdict"
done
if ((differs)); then
	echo "plugins/dist is not what the sources give: run 'make plugins' and commit it" >&2
	exit 1
fi
