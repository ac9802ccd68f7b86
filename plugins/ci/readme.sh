#!/usr/bin/env bash
# Runs the steps of one language in README.md as they stand there: ci/readme.sh script|rust|javascript|c|python FOLDER
#
# They start in a fresh copy of what git knows. FOLDER then holds what the lines that speak of wagate need: the plugin,
# its configuration, a message, and in `commands` those lines, which are not run here. Tools that are installed already
# are not installed again; CARGO_TARGET_DIR, when set, keeps what cargo builds for the next time. It must not be the one
# that build.sh uses: cargo gives both plugins called keyword-router the same file.
set -euo pipefail

case ${1:-} in
script) heading='A script' ;;
rust) heading='Rust' ;;
javascript) heading='JavaScript' ;;
c) heading='C' ;;
python) heading='Python' ;;
*) echo 'say which: ci/readme.sh script|rust|javascript|c|python FOLDER' >&2; exit 2 ;;
esac
folder=$(realpath -m "${2:?say where to put the plugin}")
cd "$(dirname "${BASH_SOURCE[0]}")"
git=(git -c safe.directory='*')
repository=$("${git[@]}" rev-parse --show-toplevel)

# The blocks marked sh between the language's heading and the next one.
steps=$(awk -v heading="### $heading" '
	/^##/ && !inside { within = $0 == heading }
	/^```/ && within { if (inside) inside = 0; else inside = $0 == "```sh"; next }
	within && inside' "$repository/plugins/README.md")
commands=$(grep '^wagate ' <<<"$steps" || true)
if ! grep -q '^wagate plugin install ' <<<"$commands"; then
	echo "README.md has no steps for $heading that end with an installation" >&2
	exit 1
fi

# Not inside the repository, where cargo would take the plugin for a part of it.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/wagate"
"${git[@]}" -C "$repository" ls-files -z --cached --others --exclude-standard |
	tar -C "$repository" --null --ignore-failed-read --warning=no-failed-read -T - -c | tar -C "$work/wagate" -x

# Asks for packages only when one is missing.
apt-get() {
	[[ $1 == install ]] || return 0
	local word missing=0
	for word in "${@:2}"; do
		[[ $word == -* ]] || dpkg -s "$word" >/dev/null 2>&1 || missing=1
	done
	((missing)) || return 0
	command apt-get update -qq
	DEBIAN_FRONTEND=noninteractive command apt-get -qq "$@" >/dev/null
}
export -f apt-get
export npm_config_prefer_offline=true npm_config_audit=false npm_config_fund=false PIP_DISABLE_PIP_VERSION_CHECK=1

cd "$work/wagate"
{
	grep -v '^wagate ' <<<"$steps"
	# What the lines of wagate name, wherever the steps have led.
	printf 'for word in %s; do [[ ! -f $word ]] || cp --parents "$word" "$1"; done\n' "${commands//$'\n'/ }"
} >"$work/steps"
mkdir -p "$folder"
bash -euo pipefail "$work/steps" "$folder" </dev/null
echo "$commands" >"$folder/commands"
