#!/usr/bin/env bash
# Runs the steps of one language in README.md as they stand there: ci/readme.sh script|rust|javascript|c|python OUT
#
# They start in a fresh clone of what is committed. The lines that speak to a gateway are left out; what they would have
# installed is copied to OUT.
set -euo pipefail

case ${1:-} in
script) heading='A script' ;;
rust) heading='Rust' ;;
javascript) heading='JavaScript' ;;
c) heading='C' ;;
python) heading='Python' ;;
*) echo 'say which: ci/readme.sh script|rust|javascript|c|python OUT' >&2; exit 2 ;;
esac
out=$(realpath -m "${2:?say where to put the plugin}")
repository=$(git -C "$(dirname "${BASH_SOURCE[0]}")" rev-parse --show-toplevel)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git clone --quiet "$repository" "$work/wagate"
cd "$work/wagate"

# The blocks marked sh between the language's heading and the next one.
steps=$(awk -v heading="### $heading" '
	/^##/ && !inside { within = $0 == heading }
	/^```/ && within { if (inside) inside = 0; else inside = $0 == "```sh"; next }
	within && inside' plugins/README.md)
installed=$(sed -n 's/^wagate plugin install [^ ]* \([^ ]*\).*/\1/p' <<<"$steps")
[[ -n $installed ]] || { echo "README.md has no steps for $heading that end with an installation" >&2; exit 1; }

bash -euo pipefail <<<"$(grep -v '^wagate ' <<<"$steps")
cp '$installed' '$out'"
