#!/usr/bin/env bash
# One hash of all that the plugins are built from: ci/sources.sh
set -euo pipefail
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
find plugins wit -type f \
	\( -name '*.rs' -o -name '*.toml' -o -name Cargo.lock -o -name '*.wit' -o -name '*.[cho]' -o -name '*.sh' \
	-o -name '*.js' -o -name 'package*.json' \) \
	-not -path '*/node_modules/*' -not -path 'plugins/target/*' -not -path '*/test/*' -print0 |
	sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1
