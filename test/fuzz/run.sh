#!/bin/sh
# Runs a fuzzer for $SBCNN_FUZZ_SECONDS on fresh inputs that begin with its seeds. An input that fails
# stays in the current folder, and its path is told. usage: run.sh FUZZER SEEDS
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
# libFuzzer's own status, 77, is what meson takes for a skipped test.
"$1" -error_exitcode=1 -timeout_exitcode=1 -max_total_time="${SBCNN_FUZZ_SECONDS:-60}" \
  -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 "$found" "$2" && echo 'test cases: 1 | 1 passed'
