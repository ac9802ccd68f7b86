#!/usr/bin/env bash
# Builds the peer's plugin and the bench, and runs it: run.sh TARGET, the folder for what is built.
#
# The peer's plugin is built by the compiler of plugins/ (plugins/README.md); on Debian, as root, it is installed when it
# is missing.
set -euo pipefail

target=$(realpath -m "$1")
bench=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
plugins=$(realpath "$bench/../../../plugins")

guest=wasm32-unknown-unknown
if [[ ! -d $(rustc --print sysroot)/lib/rustlib/$guest/lib ]] && ! dpkg -s rustc-web rust-web-src >/dev/null 2>&1; then
	command -v apt-get >/dev/null || { echo "please run: rustup target add $guest" >&2; exit 1; }
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends rustc-web rust-web-src >/dev/null
fi

cd "$plugins"
CARGO_TARGET_DIR=$target/peer keyword-router/rust/build.sh --locked --manifest-path "$bench/peer/Cargo.toml"
cd "$bench"
CARGO_TARGET_DIR=$target cargo build --locked --release
"$target/release/bench-plugin" "$target/peer/$guest/release/peer.wasm"
