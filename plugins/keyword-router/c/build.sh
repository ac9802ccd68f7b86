#!/usr/bin/env bash
# Builds the plugin: ./build.sh [file to write]
#
# Needs clang, wasm-ld and their WebAssembly parts (on Debian: apt-get install clang-19 lld-19 wasi-libc
# libclang-rt-19-dev-wasm32), and the linker wasm-component-ld, which makes the module a component: from a Rust of rustup,
# or else one that is installed. Nothing here is Rust. CLANG names another clang.
set -euo pipefail

out=$(realpath -m "${1:-$(dirname "${BASH_SOURCE[0]}")/keyword-router.wasm}")
cd "$(dirname "${BASH_SOURCE[0]}")"

clang=${CLANG:-clang-19}
tools=$(rustc --print sysroot 2>/dev/null || true)/lib/rustlib/$(rustc -vV 2>/dev/null | sed -n 's/^host: //p' || true)/bin
linker=$(PATH=$tools:$PATH:${CARGO_HOME:-$HOME/.cargo}/bin command -v wasm-component-ld || true)
if ! command -v "$clang" >/dev/null || [[ -z $linker ]]; then
	echo "$clang or wasm-component-ld is missing: install clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32, and Rust by" >&2
	echo "rustup, or run 'cargo install --locked wasm-component-ld'" >&2
	exit 1
fi

# wasm-component-ld calls wasm-ld, which rustup has in gcc-ld and Debian's lld-19 in a folder of its own.
PATH=$tools/gcc-ld:$PATH:/usr/lib/llvm-19/bin "$clang" --target=wasm32-wasi -mexec-model=reactor -Os -Wall -Wextra \
	-fuse-ld="$linker" -Wl,--strip-all -o "$out" \
	router.c json.c words.c bindings/message_plugin.c bindings/message_plugin_component_type.o
