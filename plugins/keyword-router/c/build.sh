#!/usr/bin/env bash
# Builds the plugin: ./build.sh [file to write]
#
# Needs clang, wasm-ld and their WebAssembly parts (on Debian: apt-get install clang-19 lld-19 wasi-libc
# libclang-rt-19-dev-wasm32), and of a Rust from rustup the linker wasm-component-ld, which makes the module a component.
# Nothing here is Rust. CLANG names another clang.
set -euo pipefail

out=$(realpath -m "${1:-$(dirname "${BASH_SOURCE[0]}")/keyword-router.wasm}")
cd "$(dirname "${BASH_SOURCE[0]}")"

clang=${CLANG:-clang-19}
tools=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin
if ! command -v "$clang" >/dev/null || [[ ! -x $tools/wasm-component-ld ]]; then
	echo "$clang or wasm-component-ld is missing: install clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32, and Rust by rustup" >&2
	exit 1
fi

# wasm-component-ld calls wasm-ld, which is in gcc-ld.
PATH=$tools/gcc-ld:$PATH "$clang" --target=wasm32-wasi -mexec-model=reactor -Os -Wall -Wextra \
	-fuse-ld="$tools/wasm-component-ld" -Wl,--strip-all -o "$out" \
	router.c json.c words.c bindings/message_plugin.c bindings/message_plugin_component_type.o
