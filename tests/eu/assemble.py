#!/usr/bin/env python3
"""assemble.py --check|--update: compares vectors.txt with what Intel's assembler (iga64, of libigc-tools) makes of
the same instructions, or writes it. Its lines are the two 64-bit words of an instruction, low one first, and its text.
The texts are those of the string literals of *_vectors.cc and *_programs.cc that begin a vector."""
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
LIST = HERE / "vectors.txt"


def texts():
    found = []
    for source in sorted(HERE.glob("*_vectors.cc")):
        for text in re.findall(r'\{"([^"]+)"', source.read_text()):
            if text not in found:
                found.append(text)
    return found


def assemble(lines):
    with tempfile.TemporaryDirectory() as folder:
        source, output = pathlib.Path(folder, "x.asm"), pathlib.Path(folder, "x.krn")
        source.write_text("\n".join(lines) + "\n")
        done = subprocess.run(["iga64", "-a", "-p=12p1", "-Xforce-no-compact", str(source), "-o", str(output)], capture_output=True, text=True)
        if not output.exists():
            sys.exit(f"assemble.py: iga64 refuses:\n{done.stdout}{done.stderr}")
        data = output.read_bytes()
    if len(data) != 16 * len(lines):
        sys.exit(f"assemble.py: {len(data)} bytes of {len(lines)} instructions; expected 16 each")
    return [data[at:at + 16] for at in range(0, len(data), 16)]


def main():
    if sys.argv[1:] not in (["--check"], ["--update"]):
        sys.exit("usage: assemble.py --check|--update")
    lines = texts()
    rows = "".join(f"{int.from_bytes(word[:8], 'little'):016x} {int.from_bytes(word[8:], 'little'):016x} {text}\n"
                   for text, word in zip(lines, assemble(lines)))
    if sys.argv[1] == "--update":
        LIST.write_text(rows)
    elif LIST.read_text() != rows:
        sys.exit("assemble.py: vectors.txt is not what the assembler makes of the instructions; expected it to be. "
                 "Update it: tests/eu/assemble.py --update")


main()
