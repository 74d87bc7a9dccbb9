#!/usr/bin/env python3
"""Records what a program says to the device, as inputs of fuzz_trace, fuzz_replay and fuzz_profile_from; and writes packets of the
real driver as bpftrace prints them, as inputs of fuzz_capture.

usage: record_calls.py BUILD_DIRECTORY OUTPUT_DIRECTORY PROGRAM ARGUMENTS...

Writes OUTPUT_DIRECTORY/{trace,replay,profile_from,capture}/N. The targets say what the first bytes of their inputs mean.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from varint import varint

INPUT_BYTES, INPUTS = 2000, 4  # of one, and of a kind
GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden/vmbus-golden.json"
A_FRAMES_ITEMS, A_RECORD, ITEMS = b"\x02", b"\x01\x00", b"\x00"  # of fuzz_trace, fuzz_replay, fuzz_profile_from


def items(data):
    """Each with its length."""
    begin = 0
    while begin < len(data):
        size, at = varint(data, begin)
        yield data[begin : at + size]
        begin = at + size


def record_of(item):
    """A TraceItem's field 2, without its tag and its length."""
    _, at = varint(item, 0)
    tag, at = varint(item, at)
    size, at = varint(item, at)
    return item[at : at + size] if tag == 2 << 3 | 2 else None


def write(directory, number, data):
    os.makedirs(directory, exist_ok=True)
    (pathlib.Path(directory) / str(number)).write_bytes(data)


def some(values):
    """A few from the whole of it."""
    values = list(values)
    return values[:: max(len(values) // INPUTS, 1)][:INPUTS]


def printed(payload):
    return "".join(chr(c) if 0x20 <= c < 0x7F else f"\\x{c:02x}" for c in payload)


def main():
    build, output, program = sys.argv[1], sys.argv[2], sys.argv[3:]
    with tempfile.TemporaryDirectory() as place:
        file = place + "/calls.dxg"
        subprocess.run([build + "/bin/cuse-dxg", "run", "--record", file, "--", *program], stdout=subprocess.DEVNULL, check=True)
        data = subprocess.run(["zstd", "-dcq", file], capture_output=True, check=True).stdout
    recorded = [item for item in list(items(data))[1:] if len(item) < INPUT_BYTES]  # behind the header
    pieces, piece = [], b""
    for item in recorded:
        if piece and len(piece) + len(item) > INPUT_BYTES:
            pieces.append(piece)
            piece = b""
        piece += item
    pieces.append(piece)
    for number, piece in enumerate(some(pieces)):
        write(output + "/trace", number, A_FRAMES_ITEMS + piece)
        write(output + "/profile_from", number, ITEMS + piece)
    records = [record for record in map(record_of, recorded) if record is not None and len(record) > 60]
    for number, record in enumerate(some(records)):
        write(output + "/replay", number, A_RECORD + record)

    commands = [each for each in json.loads(GOLDEN.read_text(encoding="ascii"))
                if isinstance(each["response_packet"], str) and each["typ"] == 6]
    for number, each in enumerate(some(commands)):
        payload, answer = bytes.fromhex(each["payload"]), bytes.fromhex(each["response_packet"])
        write(output + "/capture", number, (f"> 0xffff8881047c2000 {len(payload)} {each['trans']:x} type 6 flags {each['flags']} {printed(payload)}\n"
                                            f"< 0xffff8881047c2000 {len(answer)} {printed(answer)}\n").encode())


main()
