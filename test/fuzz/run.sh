#!/bin/sh
# Runs a fuzzer on fresh inputs that begin with its seeds. An input that fails stays in the current
# folder, and its path is told. usage: run.sh FUZZER SECONDS SEEDS
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
"$1" -max_total_time="$2" -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 \
  "$found" "$3" && echo 'test cases: 1 | 1 passed'
