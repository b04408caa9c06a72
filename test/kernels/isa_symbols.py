#!/usr/bin/env python3
"""Fails if a library of kernels for one instruction set defines a symbol that others may define too.

The linker keeps one of several definitions of the same inline function. If that one was compiled
for a wider instruction set, innocent code dies on machines without it (kernels/routines.h). So all
that such a library defines must lie in a namespace that bears the name of its instruction set.

    isa_symbols.py ISA LIBRARY [ISA LIBRARY]...
"""

import os
import re
import subprocess
import sys


def strangers(isa, library):
    lines = subprocess.run([os.environ.get("NM", "nm"), "--demangle", "--defined-only", library],
                           check=True, capture_output=True, text=True).stdout.splitlines()
    defined = [m.groups() for m in (re.match(r"[0-9a-f]* *(\S) (.+)", line) for line in lines) if m]
    own = [name for kind, name in defined if f"kernels::{isa}::" in name]
    if not own:
        return [f"no symbol of kernels::{isa} at all"]
    return [name for kind, name in defined
            if (kind.isupper() or kind in "uvw")
            and f"kernels::{isa}::" not in name and f"Eigen_{isa}::" not in name
            and "::" in name]


def main():
    found = 0
    for isa, library in zip(sys.argv[1::2], sys.argv[2::2]):
        for name in strangers(isa, library):
            print(f"{library}: {name}")
            found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
