#!/usr/bin/python3
"""Intel's runtimes from the distribution, on a node that has a simulated Tiger Lake. To be run by `cuse-dxg run`.

    intel.py clinfo                  lists everything, and nothing of it is an error
    intel.py once PROGRAM...         the program says that all is right, and leaves nothing behind; the report says that all of its
                                     kernels were executed
    intel.py parallel N PROGRAM...   so many at the same time
    intel.py trouble PROGRAM HEALTHY kernels of the one end as they should, and the other is right beside them
    intel.py killed PROGRAM...       fifty that are killed at random points; SEED in the environment repeats a run

In the environment, what `cuse-dxg run` sets: DXG_CONTROL. CUSE_DXG is the program to ask there.
"""

import json
import os
import random
import re
import subprocess
import sys
import time

TIMEOUT_S = 100


def status():
    """What is alive in the host, by name."""
    text = subprocess.run([os.environ["CUSE_DXG"], "ctl", "status"], check=True, capture_output=True, text=True).stdout
    return {line[:40].strip(): int(line[40:].replace(",", "").split()[0]) for line in text.splitlines() if line.strip()}


def expect_nothing_left(*happened):
    """A killed program's calls may still be on their way, so this asks until nothing is left. `happened`: counts of what may have
    happened, which never fall."""
    deadline = time.monotonic() + 30
    while True:
        left = {name: count for name, count in status().items() if count != 0 and name not in ("adapters", "calls", "refused calls", *happened)}
        if not left:
            return
        if time.monotonic() > deadline:
            sys.exit(f"left behind: {left}")
        time.sleep(0.05)  # there is no event for the end of the last object


def expect_right(program, started):
    output, _ = started.communicate(timeout=TIMEOUT_S)
    if started.returncode != 0 or "all right" not in output:
        sys.exit(f"{program}: exit status {started.returncode}\n{output}")
    return output


ALL_STARTED = []


def start(program):
    started = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    ALL_STARTED.append(started)
    return started


def end_what_is_left():
    for started in ALL_STARTED:
        if started.poll() is None:
            started.kill()
            started.wait()


def clinfo():
    text = subprocess.run(["clinfo"], check=True, capture_output=True, text=True, timeout=TIMEOUT_S).stdout
    for wanted in ["Intel(R) OpenCL HD Graphics", "Intel(R) Graphics [0x9a49]", "PCI-E, 0000:00:02.0", "1300MHz"]:
        if wanted not in text:
            sys.exit(f"clinfo does not say {wanted!r}:\n{text}")
    units = [line.split()[-1] for line in text.splitlines() if "Max compute units" in line]
    if units != ["96"]:
        sys.exit(f"compute units: {units}")
    errors = [line for line in text.splitlines() if "error" in line.lower() and "Error Correction" not in line]
    if errors:
        sys.exit("clinfo could not ask:\n" + "\n".join(errors))
    expect_nothing_left()


def reported():
    text = subprocess.run([os.environ["CUSE_DXG"], "ctl", "report", "--json"], check=True, capture_output=True, text=True).stdout
    return json.loads(text)


def once(*program):
    output = expect_right(program, start(program))
    print(output, end="")
    expect_nothing_left()
    report = reported()
    if "not executed" in output or report["not_executed"]:
        sys.exit(f"not executed: {report['not_executed']}")
    if "left out" in output:  # this device has all that the programs need
        sys.exit(f"{program}: some of it was left out")
    kernels = {thing["what"]: thing["count"] for thing in report["approximated"] if re.fullmatch("kernel [0-9a-f]{16}", thing["what"])}
    instructions = [thing["count"] for thing in report["approximated"] if thing["what"] == "instructions of kernels"]
    if not kernels or len(instructions) != 1 or instructions[0] < 10 * sum(kernels.values()):
        sys.exit(f"the report has the kernels {kernels} and {instructions} instructions")


def parallel(count, *program):
    for started in [start(program) for _ in range(int(count))]:
        expect_right(program, started)
    expect_nothing_left()


def trouble(program, healthy):
    """Kernels that do what none should: the runtime hears of it, and others go on."""
    for name, wanted in [("wild", "failed with"), ("barrier", "failed with"), ("endless", "failed with"), ("call", "completed")]:
        started = start([program, name])
        beside = start([healthy, "--only", "add", "--group", "64"])
        output, _ = started.communicate(timeout=TIMEOUT_S)
        if wanted not in output:
            sys.exit(f"{name}: {output}")
        expect_right([healthy], beside)
    expect_nothing_left()
    why = [thing["why"] for thing in reported()["not_executed"]]
    # Of the two that hang no instruction is to blame.
    if len(why) != 2 or not re.match("at 0x[0-9a-f]+, send.dc1", why[0]) or not re.match("at 0x[0-9a-f]+, .*not known", why[1]):
        sys.exit(f"the report says: {why}")


def killed(*program):
    seed = int(os.environ.get("SEED", time.time_ns() % 1_000_000))
    print(f"SEED={seed}", flush=True)
    chance = random.Random(seed)
    # The kernel takes a killed program's memory before it closes the node, and the GPU works there until then.
    lost = "lost accesses to client pages"
    begin = time.monotonic()
    expect_right(program, start(program))
    whole = time.monotonic() - begin
    for _ in range(5):
        all_started = [(start(program), chance.uniform(0, 2 * whole)) for _ in range(10)]
        begin = time.monotonic()
        for started, after in sorted(all_started, key=lambda each: each[1]):
            time.sleep(max(0.0, begin + after - time.monotonic()))
            started.kill()
            started.communicate(timeout=TIMEOUT_S)
    expect_nothing_left(lost)
    expect_right(program, start(program))
    expect_nothing_left(lost)


if __name__ == "__main__":
    try:
        {"clinfo": clinfo, "once": once, "parallel": parallel, "killed": killed, "trouble": trouble}[sys.argv[1]](*sys.argv[2:])
    finally:
        end_what_is_left()
