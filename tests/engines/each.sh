#!/bin/bash
# Runs a command for several engines at the same time, each told by WAGATE_TEST_ENGINE which one it is for:
# each.sh postgres mysql -- COMMAND [ARGUMENT…]. Every line it prints names its engine. When one of them failed it fails,
# and what that one printed last stands at the end once more.
set -euo pipefail

engines=()
while [[ $1 != -- ]]; do
	engines+=("$1")
	shift
done
shift

printed=$(mktemp -d)
trap 'rm -rf "$printed"' EXIT
running=()
for engine in "${engines[@]}"; do
	WAGATE_TEST_ENGINE=$engine "$@" 2>&1 | sed -u "s/^/$engine: /" | tee "$printed/$engine" &
	running+=($!)
done
failed=()
for n in "${!running[@]}"; do
	wait "${running[n]}" || failed+=("${engines[n]}")
done
for engine in "${failed[@]}"; do
	echo "$engine failed; the last it printed:"
	tail -n 15 "$printed/$engine"
done
exit $((${#failed[@]} > 0))
