"""Counts the test cases of meson test runs.

usage: count_tests.py [TESTLOG.json STATUS]...

Each test program is doctest or Python's unittest; both print how many cases ran. A case that
could not run here says so with a line `SKIP: reason`. A program that failed without naming a failed
case (a crash, a timeout) counts as one failed case, and so does a run that failed without a failed
case, or left no log (its build failed). Prints every skip, then
`N passed, N failed, N skipped`; exits 1 if anything failed or nothing ran.
"""
import json
import os
import re
import sys


def count(output: str, ok: bool) -> tuple[int, int, int]:
    passed = failed = skipped = 0
    for line in re.findall(r"test cases: .*", output):
        numbers = re.findall(r"(\d+)\s+(passed|failed)", line)
        passed += sum(int(n) for n, what in numbers if what == "passed")
        failed += sum(int(n) for n, what in numbers if what == "failed")
    passed += sum(int(n) for n in re.findall(r"^Ran (\d+) tests? in ", output, re.M))
    for verdict in re.findall(r"^FAILED \((.*)\)$", output, re.M):
        bad = sum(int(n) for n in re.findall(r"(?:failures|errors)=(\d+)", verdict))
        failed += bad
        passed -= bad
    skipped = len(re.findall(r"^SKIP: ", output, re.M))
    passed -= skipped
    if not ok and failed == 0:
        failed = 1
    return passed, failed, skipped


def count_run(path: str, status: int) -> tuple[int, int, int]:
    passed = failed = skipped = 0
    if os.path.exists(path):
        with open(path, encoding="utf-8") as log:
            for record in map(json.loads, log):
                output = (record.get("stdout") or "") + "\n" + (record.get("stderr") or "")
                p, f, s = count(output, record["result"] in ("OK", "EXPECTEDFAIL", "SKIP"))
                passed, failed, skipped = passed + p, failed + f, skipped + s
                for reason in re.findall(r"^SKIP: (.*)", output, re.M):
                    print(f"skipped: {record['name']}: {reason}")
                if f:
                    print(f"failed: {record['name']}: {f} cases")
    if failed == 0 and (status != 0 or passed == 0):
        print(f"failed: no failed case in {path}, but status {status} and {passed} passed")
        failed = 1
    return passed, failed, skipped


def main() -> int:
    runs = [count_run(path, int(status)) for path, status in zip(sys.argv[1::2], sys.argv[2::2])]
    passed, failed, skipped = map(sum, zip(*runs))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


sys.exit(main())
