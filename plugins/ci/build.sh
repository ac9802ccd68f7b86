#!/usr/bin/env bash
# Builds every plugin of this folder: ci/build.sh OUT
#
# Installs what is missing of the tools, as root on Debian. CARGO_TARGET_DIR says where the intermediate files go. The
# same sources and tools give the same bytes, on any machine and in any folder; only Python's are not compared.
# OUT/built-with says which tools these were.
set -euo pipefail

out=$(realpath -m "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
export CARGO_TARGET_DIR=$target RUST_BACKTRACE=0
mkdir -p "$out" "$target"

packages=(rustc-web rust-web-src clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32 python3-venv)
missing=()
for package in "${packages[@]}"; do
	dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
done
if ((${#missing[@]})); then
	command -v apt-get >/dev/null || { echo "please install: ${missing[*]}" >&2; exit 1; }
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# Rust.
WASM_RUSTC=debian keyword-router/rust/build.sh --locked --workspace
for plugin in auto-reply cloud-api-shape forward keyword-router redact; do
	cp "$target/wasm32-unknown-unknown/release/${plugin//-/_}.wasm" "$out/$plugin.wasm"
done

# C.
keyword-router/c/build.sh "$out/keyword-router-c.wasm"

# JavaScript. The engine is kept as it is after loading the source, so time and chance must stand still.
# LD_PRELOAD takes no path with a blank in it, which the target folder may have.
steady=$(mktemp -d)
trap 'rm -rf "$steady"' EXIT
cc -shared -fPIC -O1 -Wall -Wextra -o "$steady/steady.so" ci/steady.c
# Not npm ci: 0.4.5 was not published for every platform it names, and npm ci wants those in the lock file, too.
javascript() {
	[[ -x $1/node_modules/.bin/componentize-qjs ]] || npm install --prefix "$1" --no-save --no-audit --no-fund --loglevel error
	(cd "$1" && LD_PRELOAD=$steady/steady.so node node_modules/componentize-qjs/cli.mjs \
		--wit "$2" --world "$3" --js "$4" --sync --stub-wasi -o "$5" >/dev/null)
}
javascript script ../../wit/v1 full-plugin src/main.js "$out/script.wasm"
javascript keyword-router/js wit message-plugin router.js "$out/keyword-router-js.wasm"

# Python.
python=$target/python
if ! "$python/bin/pip" freeze 2>/dev/null | grep -qxF "$(<keyword-router/python/requirements.txt)"; then
	python3 -m venv "$python"
	"$python/bin/pip" install --quiet --disable-pip-version-check -r keyword-router/python/requirements.txt
fi
(cd keyword-router/python && PYTHONDONTWRITEBYTECODE=1 "$python/bin/componentize-py" -d wit -w message-plugin \
	componentize --stub-wasi router -o "$out/keyword-router-python.wasm" >/dev/null)

version() { dpkg-query -W -f '${Version}' "$1"; }
linker=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin
linker="$("$linker/wasm-component-ld" --version), $("$linker/gcc-ld/wasm-ld" --version | cut -d" " -f1,2)"
cat >"$out/built-with" <<-EOF
	rust: rustc-web $(version rustc-web), $linker
	c: clang-19 $(version clang-19), wasi-libc $(version wasi-libc), $linker
	js: componentize-qjs $(node -p "require('./script/node_modules/componentize-qjs/package.json').version")
	sources: $(ci/sources.sh)
EOF
