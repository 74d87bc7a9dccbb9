#!/usr/bin/python3
"""How fast kernels of OpenCL are: instructions a second of the simulated Tiger Lake, and two kernels beside pocl.

    speed.py [--smoke] [BIN]     BIN has the programs: build/bin unless it is given

Both run Debian's unmodified runtimes with the same program (speed.cc), one after the other. With --smoke it is a moment, whose numbers
say nothing.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

TIMEOUT_S = 600


def measure(command, runtime):
    """Seconds by what took them."""
    done = subprocess.run(command, env=dict(os.environ, OCL_ICD_VENDORS=runtime), stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_S)
    if done.returncode != 0:
        sys.exit(f"{command[-1]} with {runtime}: exit status {done.returncode}\n{done.stdout}")
    return {what: float(seconds) for what, seconds in re.findall(r"^(.+): ([0-9.]+) s$", done.stdout, re.MULTILINE)}


def instructions(report):
    return sum(thing["count"] for thing in json.loads(report.read_text())["approximated"] if thing["what"] == "instructions of kernels")


def main():
    arguments = sys.argv[1:]
    smoke = [argument for argument in arguments if argument == "--smoke"]
    rest = [argument for argument in arguments if argument != "--smoke"]
    if len(rest) > 1 or any(argument.startswith("-") for argument in rest):
        sys.exit(__doc__)
    folder = pathlib.Path(rest[0] if rest else pathlib.Path(__file__).resolve().parents[2] / "build/bin").resolve()
    load = os.getloadavg()[0]
    program = [str(folder / "dxg-stack-speed"), *smoke]
    with tempfile.TemporaryDirectory() as scratch:
        report = pathlib.Path(scratch, "report.json")
        device = [str(folder / "cuse-dxg"), "run", "--profile", "intel-tgl", "--report", str(report), "--"]
        ours = measure(device + program, "intel.icd")
        count = instructions(report)
    theirs = measure(program, "pocl.icd")
    print(f"{'':16}{'simulated GPU':>16}{'pocl':>16}{'ratio':>8}")
    for what, seconds in ours.items():
        if what != "kernels":
            print(f"{what:16}{1000 * seconds:>13.1f} ms{1000 * theirs[what]:>13.1f} ms{seconds / theirs[what]:>8.1f}")
    print(f"instructions    {count / ours['kernels'] / 1e6:.1f} million a second ({count / 1e6:.1f} million in {ours['kernels']:.2f} s)")
    print(f"machine         {os.cpu_count()} processors, load {load:.1f} before")


main()
