#!/usr/bin/env python3
"""decoder.py DISASSEMBLER kernels|random [NUMBER [SEED]]: whether the EU's decoder and Intel's assembler (iga64, of
libigc-tools) read the same instructions.

kernels: all instructions of kernels.cl, as Debian's ocloc compiles them: each has the same text.
random: NUMBER random words (default: 100000), most with fields that are likely. What iga64 refuses is refused here; what it reads
has the same text here, or is refused for one of the reasons below: iga64 reads over bits that have no meaning."""
import collections
import pathlib
import random
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
LINE = re.compile(r"^/\* \[([0-9A-F]+)\]\s*\*/ (.*)$")

# Of what iga64 reads and the decoder does not.
STRICTER = [re.compile(pattern + "$") for pattern in (
    r"there is no register r\d+",
    r"subregister at byte \d+ is not aligned to its type of \d bytes",
    r"a destination stride of 0 is not known",
    r"architecture register 0x[0-9a-f]+ is not known",
    r"byte \d+ of architecture register 0x[0-9a-f]+ is not known",
    r"a (first |second )?target in (a|architecture) register( 0x[0-9a-f]+)? is not known",
    r"a return (address in register 0x[0-9a-f]+|to an immediate) is not known",
    r"a result of three sources at byte \d+ is not known",
    r"a region <\d+;\d+> is not known",
    r"a region by rows of a direct source is not known",
    r"\w+ (does not saturate|has no condition|has no predicate|has no modifiers of sources)",
    r"an absolute source of \w+ is not known",
    r"a sync of a register is not known",
    r"a sync with an immediate of another type than ud",
    r"a sync of this kind with an immediate is not known",
    r"an immediate of \d bytes among three sources is not known",
    r"an immediate first source of math is not known",
    r"an immediate of one byte is not known",
    r"a message of architecture register 0x[0-9a-f]+ is not known",
    r"math function \d+ is not known on this platform",
    r"(condition|predicate|type|sync function|execution size) \d+ is not known",
)]
CODES = [1, 32, 33, 34, 35, 36, 37, 39, 40, 41, 42, 43, 44, 45, 46, 47, 49, 50, 56, *range(64, 80), 88, 91, *range(96, 106), 108, 110, 111,
         112, 113, 114, 119, 120, 121, 122]


def read_iga(data):
    """Offset to text, and offset to refusal."""
    with tempfile.NamedTemporaryFile(suffix=".krn") as file:
        file.write(data)
        file.flush()
        done = subprocess.run(["iga64", "-d", "-p=12p1", "-n", "-Xprint-pc", "-Xprint-hex-floats", "--output-on-fail", file.name],
                              capture_output=True, check=False)
    texts, refused = {}, {}
    for line in done.stdout.decode("latin1").splitlines():
        if match := LINE.match(line):
            texts[int(match[1], 16)] = " ".join(match[2].split("//")[0].split())
    for offset, why in re.findall(r"byte offset 0x([0-9a-f]+): error: (.*)", done.stderr.decode("latin1")):
        refused[int(offset, 16)] = why
    return texts, refused


def read_own(disassembler, data):
    with tempfile.NamedTemporaryFile(suffix=".krn") as file:
        file.write(data)
        file.flush()
        lines = subprocess.run([disassembler, file.name], capture_output=True, text=True, check=True).stdout.splitlines()
    return {int(offset, 16): text for offset, text in (line.split(" ", 1) for line in lines)}


def compare(disassembler, data, strict, counts, faults):
    texts, refused = read_iga(data)
    for offset, own in read_own(disassembler, data).items():
        size = 8 if data[offset + 3] >> 5 & 1 else 16
        word = data[offset:offset + size].hex()
        if offset not in texts and offset not in refused:  # iga64 has ended before it: this one alone
            alone, why = read_iga(data[offset:offset + size])
            texts.update({offset: text for text in alone.values()})
            refused.update({offset: text for text in why.values()})
        iga = None if offset in refused or "INVALID" in texts.get(offset, "INVALID") else texts[offset]
        if own.startswith("!"):
            if iga is None:
                counts["refused by both"] += 1
            elif not strict and any(pattern.match(own[1:]) for pattern in STRICTER):
                counts["refused here alone"] += 1
            else:
                faults.append(f"{word}\n  iga64: {iga}\n  here:  {own}")
        elif iga is None:
            faults.append(f"{word}\n  iga64 refuses: {refused.get(offset)}\n  here:  {own}")
        elif iga == own:
            counts["equal"] += 1
        else:
            faults.append(f"{word}\n  iga64: {iga}\n  here:  {own}")


def random_word(chance):
    word = chance.getrandbits(128)
    if chance.random() < 0.97:
        word = word & ~127 | chance.choice(CODES)
    if chance.random() < 0.8:
        word &= ~(1 << 7)
        if word >> 16 & 7 > 5:
            word ^= 4 << 16
        if word >> 24 & 15 > 13:
            word ^= 8 << 24
        if chance.random() < 0.8:
            word &= ~(15 << 92)
        word = word & ~(255 << 8) | chance.choice([0, 1, 7, 0x22, 0x33, 0x44, 0x9a]) << 8
        if chance.random() < 0.7:
            word &= ~(3 << 46)
        if chance.random() < 0.8:
            word |= 1 << 50 | 1 << 66 | 1 << 98
            word &= ~(1 << 63 | 1 << 79 | 1 << 111 | 1 << 35 | 1 << 80 | 1 << 112 | 1 << 83 | 1 << 115 | 1 << 87 | 1 << 119)
    is_compact = word >> 29 & 1
    return (word & (1 << 64) - 1).to_bytes(8, "little") if is_compact else word.to_bytes(16, "little")


def kernels():
    with tempfile.TemporaryDirectory() as folder:
        for command in (["ocloc", "compile", "-file", str(HERE / "kernels.cl"), "-device", "tgllp", "-options", "-cl-std=CL2.0",
                         "-out_dir", folder, "-output_no_suffix"],
                        ["ocloc", "disasm", "-file", f"{folder}/kernels", "-dump", f"{folder}/heaps", "-device", "tgllp"]):
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
            if done.returncode:
                sys.exit(f"decoder.py: {command[1]} of ocloc failed:\n{done.stdout}{done.stderr}")
        # Behind its end a kernel is padded, maybe with half an instruction.
        return [path.read_bytes() + bytes(8) for path in sorted(pathlib.Path(folder, "heaps").glob("*_KernelHeap.dat"))]


def main():
    if len(sys.argv) < 3 or sys.argv[2] not in ("kernels", "random"):
        sys.exit("usage: decoder.py DISASSEMBLER kernels|random [NUMBER [SEED]]")
    counts, faults = collections.Counter(), []
    if sys.argv[2] == "kernels":
        heaps = kernels()
        for heap in heaps:
            compare(sys.argv[1], heap, True, counts, faults)
        print(f"{len(heaps)} kernels: {dict(counts)}")
        if len(heaps) < 60 or counts["equal"] < 10000:
            sys.exit("decoder.py: expected 60 kernels with 10000 instructions")
    else:
        number = int(sys.argv[3]) if len(sys.argv) > 3 else 100000
        chance = random.Random(int(sys.argv[4]) if len(sys.argv) > 4 else 1)
        for begin in range(0, number, 1000):  # iga64 ends after some thousand faults
            compare(sys.argv[1], b"".join(random_word(chance) for _ in range(min(1000, number - begin))), False, counts, faults)
        print(f"{number} words: {dict(counts)}")
        if counts["equal"] < number / 50:
            sys.exit("decoder.py: too few words that both read; expected one of fifty")
    if faults:
        sys.exit(f"decoder.py: {len(faults)} differences, among them:\n" + "\n".join(faults[:20]))


main()
