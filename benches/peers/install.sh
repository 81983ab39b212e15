#!/usr/bin/env bash
# Gets what the benches beside this file compare Ballast with, as far as it can be had here:
#
#   benches/peers/install.sh DIRECTORY
#
# restic, borg, zstd, rsync from the distribution (as root; else those that are there), rustic and bupstash from
# crates.io with the versions of their lock files, ZipNN, torch and gguf from PyPI into DIRECTORY/python.
# Afterwards: benches/peers/peers.py … --rustic DIRECTORY/bin/rustic --python DIRECTORY/python/bin/python
set -u
to=$(realpath -m "${1:?the directory to install into}")
mkdir -p "$to"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq && apt-get install -y -qq restic borgbackup zstd rsync libsodium-dev pkg-config || echo "not all of the distribution's packages" >&2
fi
[ -x "$to/bin/rustic" ] || cargo install --quiet --locked --root "$to" rustic-rs --version 0.11.4 || echo "no rustic" >&2
[ -x "$to/bin/bupstash" ] || cargo install --quiet --locked --root "$to" bupstash --version 0.12.0 || echo "no bupstash" >&2
[ -x "$to/python/bin/python" ] || python3 -m venv "$to/python"
"$to/python/bin/pip" install --quiet zipnn gguf safetensors numpy torch || echo "no ZipNN" >&2
