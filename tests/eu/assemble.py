#!/usr/bin/env python3
"""assemble.py --check|--update: compares vectors.txt with what Intel's assembler (iga64, of libigc-tools) makes of
the same instructions, or writes it. Its lines are the two 64-bit words of an instruction, low one first, and its text.
The texts are those of the string literals of *_vectors.cc that begin a vector. The words of programs/NAME.asm are in
programs/NAME.words."""
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


def assemble(lines, expected):
    with tempfile.TemporaryDirectory() as folder:
        source, output = pathlib.Path(folder, "x.asm"), pathlib.Path(folder, "x.krn")
        source.write_text("\n".join(lines) + "\n")
        done = subprocess.run(["iga64", "-a", "-p=12p1", "-Xforce-no-compact", str(source), "-o", str(output)], capture_output=True, text=True)
        if not output.exists():
            sys.exit(f"assemble.py: iga64 refuses:\n{done.stdout}{done.stderr}")
        data = output.read_bytes()
    if expected and len(data) != 16 * expected:
        sys.exit(f"assemble.py: {len(data)} bytes of {expected} instructions; expected 16 each")
    return [data[at:at + 16] for at in range(0, len(data), 16)]


def hexadecimal(word):
    return f"{int.from_bytes(word[:8], 'little'):016x} {int.from_bytes(word[8:], 'little'):016x}"


def main():
    if sys.argv[1:] not in (["--check"], ["--update"]):
        sys.exit("usage: assemble.py --check|--update")
    lines = texts()
    files = {LIST: "".join(f"{hexadecimal(word)} {text}\n" for text, word in zip(lines, assemble(lines, len(lines))))}
    for program in sorted(HERE.glob("programs/*.asm")):
        words = assemble(program.read_text().splitlines(), None)
        files[program.with_suffix(".words")] = "".join(hexadecimal(word) + "\n" for word in words)
    for path, rows in files.items():
        if sys.argv[1] == "--update":
            path.write_text(rows)
        elif path.read_text() != rows:
            sys.exit(f"assemble.py: {path.name} is not what the assembler makes of the instructions; expected it to be. "
                     "Update it: tests/eu/assemble.py --update")


main()
