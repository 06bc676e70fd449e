# Shared by the commands in this folder; sourced, not run.
# shellcheck shell=bash

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export LC_ALL=C
# mke2fs, debugfs and e2fsck live in sbin, which an ordinary user's PATH lacks.
PATH=$PATH:/usr/sbin:/sbin

# One clear line, then out.
die() {
	echo "${0##*/}: error: $*" >&2
	exit 1
}

# Progress of long steps. On standard error, so that a guest's output stays clean.
step() { echo "${0##*/}: $*" >&2; }

# Prints the comment block at the head of a script: that is its --help.
usage() { sed -n '2,/^[^#]/{/^#/{s/^# \{0,1\}//;p}}' "$0"; }

is_root() { [ "$(id -u)" = 0 ]; }

# need COMMAND=PACKAGE... : installs the packages of the commands that are missing
# when we may, otherwise says which ones to install. A COMMAND with a / is a file.
need() {
	local pair what missing=()
	for pair in "$@"; do
		what=${pair%%=*}
		case $what in
		*/*) [ -e "$what" ] || missing+=("${pair#*=}") ;;
		*) command -v "$what" >/dev/null 2>&1 || missing+=("${pair#*=}") ;;
		esac
	done
	[ ${#missing[@]} = 0 ] && return 0
	if ! is_root; then
		die "missing Debian packages: ${missing[*]} (as root: apt-get install ${missing[*]})"
	fi
	command -v apt-get >/dev/null || die "missing: ${missing[*]}, and there is no apt-get to install them"
	step "installing ${missing[*]}"
	if ! DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >/dev/null 2>&1; then
		apt-get update >/dev/null 2>&1 || true
		DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >/dev/null ||
			die "cannot install ${missing[*]}"
	fi
}

need_cargo() {
	command -v cargo >/dev/null || PATH=$PATH:$HOME/.cargo/bin
	command -v cargo >/dev/null || die "no cargo: install the Rust toolchain first"
	need cc=gcc /usr/include/stdio.h=libc6-dev
}

# Where cargo puts things; images and built test programs live there as well.
target_dir() { echo "${CARGO_TARGET_DIR:-$REPO/target}"; }

# Builds the release kernel and prints its path.
build_umbra() {
	need_cargo
	step "building (release)"
	(cd "$REPO" && cargo build --release --quiet --bin umbra) || die "the build failed"
	echo "$(target_dir)/release/umbra"
}

# Makes the default busybox image if it is missing or older than its sources; prints its path.
default_image() {
	local img
	img=$(target_dir)/busybox.ext4
	if [ ! -e "$img" ] || [ -n "$(find "$REPO/rootfs" "$REPO/scripts/mkrootfs" -newer "$img" -print -quit)" ]; then
		mkdir -p "$(target_dir)"
		"$REPO/scripts/mkrootfs" busybox "$img" >&2
	fi
	echo "$img"
}
