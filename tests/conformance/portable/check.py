#!/usr/bin/env python3
"""check.py PROGRAM: the program runs on glibc 2.31 and later, with no library beside glibc's own and the compiler's.

Reads `objdump -T` and `objdump -p`; prints each symbol of a newer glibc.
"""

import re
import subprocess
import sys

NEWEST = (2, 31)
LIBRARIES = {"libc.so.6", "libm.so.6", "libpthread.so.0", "librt.so.1", "libdl.so.2", "ld-linux-x86-64.so.2", "libgcc_s.so.1"}
NEWEST_OF_COMPILER = (7, 0, 0)  # libgcc_s of gcc 9, which Ubuntu 20.04 has, has all of these


def numbers(version):
    return tuple(int(part) for part in version.split("."))


def objdump(option, program):
    return subprocess.run(["objdump", option, program], check=True, capture_output=True, text=True).stdout


program = sys.argv[1]
wrong = []
needed = re.findall(r"^\s*NEEDED\s+(\S+)", objdump("-p", program), re.M)
wrong += [f"it needs {library}; expected only {' '.join(sorted(LIBRARIES))}" for library in needed if library not in LIBRARIES]
symbols = re.findall(r"\(?(GLIBC|GCC|GLIBCXX|CXXABI)_([\d.]+)\)?\s+(\S+)$", objdump("-T", program), re.M)
for family, version, symbol in symbols:
    newest = {"GLIBC": NEWEST, "GCC": NEWEST_OF_COMPILER}.get(family, ())
    if numbers(version) > newest:
        wrong.append(f"{symbol} is of {family} {version}; expected {'.'.join(map(str, newest)) or 'none'} or older."
                     " Name it in tests/conformance/portable/glibc.cc")
# Its versions are not older than those of libpthread and librt, whose place an old glibc has to know.
for library in ("libpthread.so.0", "librt.so.1"):
    if library not in needed:
        wrong.append(f"it does not need {library}, in which a glibc before 2.34 has threads or timers")
if len(symbols) < 50:
    wrong.append(f"only {len(symbols)} symbols with a version were found; has the form of objdump changed?")
print("\n".join(wrong) or f"{len(symbols)} symbols, none newer than glibc {'.'.join(map(str, NEWEST))}")
sys.exit(1 if wrong else 0)
