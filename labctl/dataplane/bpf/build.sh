#!/bin/sh
# Builds lb.bpf.o, byte for byte the same on every machine with the same packages; with --check it builds elsewhere and
# compares. Nobody needs this to build or run labctl: the object is committed. Debian 12 packages:
# clang-19 llvm-19 libbpf-dev linux-libc-dev.
set -eu
cd "$(dirname "$0")"
CLANG=${CLANG:-clang-19}
STRIP=${STRIP:-llvm-strip-19}

build() { # build OUTPUT; relative paths and the prefix map keep this machine's folders out of the object
	"$CLANG" -O2 -g -Wall -Wextra -Werror -target bpf -mcpu=v3 -I"/usr/include/$(uname -m)-linux-gnu" \
		-fdebug-prefix-map="$PWD"=. -c lb.bpf.c -o "$1"
	"$STRIP" -g "$1"
}

case ${1:-} in
"")
	build lb.bpf.o
	sha256sum lb.bpf.o
	;;
--check)
	if ! command -v "$CLANG" >/dev/null; then
		echo "skipped: no $CLANG"
		exit 0
	fi
	fresh=$(mktemp)
	trap 'rm -f "$fresh"' EXIT
	build "$fresh"
	if [ "$(sha256sum <"$fresh")" != "$(sha256sum <lb.bpf.o)" ]; then
		echo "lb.bpf.o is not what lb.bpf.c builds: run bpf/build.sh and commit the object" >&2
		exit 1
	fi
	echo "lb.bpf.o is what lb.bpf.c builds"
	;;
*)
	echo "usage: build.sh [--check]" >&2
	exit 2
	;;
esac
