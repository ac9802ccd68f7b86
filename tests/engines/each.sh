#!/bin/bash
# Runs a command for several engines at the same time, each told by WAGATE_TEST_ENGINE which one it is for:
# each.sh postgres mysql -- COMMAND [ARGUMENT…]. Every line it prints names its engine. It fails when one of them failed.
set -euo pipefail

engines=()
while [[ $1 != -- ]]; do
	engines+=("$1")
	shift
done
shift

running=()
for engine in "${engines[@]}"; do
	WAGATE_TEST_ENGINE=$engine "$@" 2>&1 | sed -u "s/^/$engine: /" &
	running+=($!)
done
failed=0
for one in "${running[@]}"; do
	wait "$one" || failed=1
done
exit $failed
