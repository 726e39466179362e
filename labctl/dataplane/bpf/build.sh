#!/bin/sh
# Builds every NAME.bpf.o from NAME.bpf.c, byte for byte the same on every machine with the same packages; with --check it
# builds elsewhere and compares. Nobody needs this to build or run labctl: the objects are committed. Debian 12 packages:
# clang-19 llvm-19 libbpf-dev linux-libc-dev.
set -eu
cd "$(dirname "$0")"
CLANG=${CLANG:-clang-19}
STRIP=${STRIP:-llvm-strip-19}

build() { # build NAME OUTPUT; relative paths and the prefix map keep this machine's folders out of the object
	"$CLANG" -O2 -g -Wall -Wextra -Werror -target bpf -mcpu=v3 -I"/usr/include/$(uname -m)-linux-gnu" \
		-fdebug-prefix-map="$PWD"=. -c "$1.bpf.c" -o "$2"
	"$STRIP" -g "$2"
}

case ${1:-} in
"")
	for name in lb gate tunnel; do
		build "$name" "$name.bpf.o"
		sha256sum "$name.bpf.o"
	done
	;;
--check)
	if ! command -v "$CLANG" >/dev/null; then
		echo "skipped: no $CLANG"
		exit 0
	fi
	fresh=$(mktemp)
	trap 'rm -f "$fresh"' EXIT
	for name in lb gate tunnel; do
		build "$name" "$fresh"
		if [ "$(sha256sum <"$fresh")" != "$(sha256sum <"$name.bpf.o")" ]; then
			echo "$name.bpf.o is not what $name.bpf.c builds: run bpf/build.sh and commit the object" >&2
			exit 1
		fi
		echo "$name.bpf.o is what $name.bpf.c builds"
	done
	;;
*)
	echo "usage: build.sh [--check]" >&2
	exit 2
	;;
esac
