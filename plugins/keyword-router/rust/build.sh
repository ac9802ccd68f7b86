#!/usr/bin/env bash
# Builds the plugin, into a file named after it: ./build.sh [options for cargo build]
#
# What it needs is the standard library for wasm32-unknown-unknown: from rustup (rustup target add
# wasm32-unknown-unknown), or from Debian's packages rustc-web and rust-web-src, whose compiler then builds it along.
# WASM_RUSTC=rustup or debian chooses; else rustup's is taken when it is there. The linker wasm-component-ld makes the
# module a component: rustup's, or else one that is installed. No path of this machine gets into it.
set -euo pipefail

target=wasm32-unknown-unknown
sysroot=$(rustc --print sysroot)
tools=$sysroot/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin

linker=$(PATH=$tools:$PATH:${CARGO_HOME:-$HOME/.cargo}/bin command -v wasm-component-ld || true)
if [[ -z $linker ]]; then
	echo "this Rust ($sysroot) has no wasm-component-ld: take one from rustup, or run" >&2
	echo "'cargo install --locked wasm-component-ld'" >&2
	exit 1
fi

debian=$(dpkg -L rustc-web 2>/dev/null | grep '/bin/rustc$' || true)
chosen=${WASM_RUSTC:-$([[ -d $sysroot/lib/rustlib/$target/lib || -z $debian ]] && echo rustup || echo debian)}
case $chosen in
rustup)
	if [[ ! -d $sysroot/lib/rustlib/$target/lib ]]; then
		echo "the standard library for $target is missing: run 'rustup target add $target'," >&2
		echo "or on Debian 'apt-get install rustc-web rust-web-src'" >&2
		exit 1
	fi
	options=()
	;;
debian)
	if [[ -z $debian || ! -d $("$debian" --print sysroot)/lib/rustlib/src/rust/library ]]; then
		echo "Debian's compiler is missing: run 'apt-get install rustc-web rust-web-src'" >&2
		exit 1
	fi
	export RUSTC=$debian RUSTC_BOOTSTRAP=1
	options=(-Z build-std=std,panic_abort)
	;;
*)
	echo "WASM_RUSTC is rustup or debian, not '$chosen'" >&2
	exit 2
	;;
esac

# Panic messages name source files: as /rust and /crates, wherever those are here.
flags=(--remap-path-prefix="$("${RUSTC:-rustc}" --print sysroot)/lib/rustlib/src/rust"=/rust)
for crates in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
	flags+=(--remap-path-prefix="$crates"=/crates)
done
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${flags[*]}")
export CARGO_ENCODED_RUSTFLAGS

# It calls wasm-ld, which rustup has in gcc-ld and Debian's lld-19 in a folder of its own.
export PATH=$tools/gcc-ld:$PATH:/usr/lib/llvm-19/bin CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$linker
cargo build --release --target "$target" "${options[@]}" "$@"

name=$(sed -n '/^name = /{s/.*"\(.*\)"/\1/p;q}' Cargo.toml)
if [[ -n $name ]]; then
	cp "${CARGO_TARGET_DIR:-target}/$target/release/${name//-/_}.wasm" "$name.wasm"
	echo "$PWD/$name.wasm"
fi
