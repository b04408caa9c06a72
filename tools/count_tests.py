"""Counts the test cases of a meson test run.

usage: count_tests.py TESTLOG.json STATUS

Each test program is doctest or Python's unittest; both print how many cases ran. A case that
could not run here says so with a line `SKIP: reason`. A program that failed without naming a failed
case (a crash, a timeout) counts as one failed case. Prints every skip, then
`N passed, N failed, N skipped`; exits 1 if anything failed or nothing ran.
"""
import json
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


def main() -> int:
    passed = failed = skipped = 0
    with open(sys.argv[1], encoding="utf-8") as log:
        for record in map(json.loads, log):
            output = (record.get("stdout") or "") + "\n" + (record.get("stderr") or "")
            p, f, s = count(output, record["result"] in ("OK", "EXPECTEDFAIL", "SKIP"))
            passed, failed, skipped = passed + p, failed + f, skipped + s
            for reason in re.findall(r"^SKIP: (.*)", output, re.M):
                print(f"skipped: {record['name']}: {reason}")
            if f:
                print(f"failed: {record['name']}: {f} cases")
    if int(sys.argv[2]) != 0 and failed == 0:
        failed = 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


sys.exit(main())
