#!/usr/bin/env python3
"""call_budget.py BIN-DIR COUNTER PAGE [--print]

The budget of each call: what the device's threads take from the kernel and from the heap for it. Both are exact where times are
not, so the test holds them to the table of docs/performance.md: one system call or one allocation more or less is a difference.
--print prints the table as it is now.

System calls are counted by strace, which is attached while a client makes the call a few hundred times. What threads need to
wait for each other depends on which of them is faster (BETWEEN_THREADS), so that is not held, nor what is there less often than
once in two calls: an attachment, a timer.
Allocations are counted by a library that stands before the C library's (count_allocations.cc).
"""

import os
import signal
import struct
import subprocess
import sys
import tempfile

BIN, COUNTER, PAGE = map(os.path.abspath, sys.argv[1:4])
CALLS = 400
BETWEEN_THREADS = {"futex", "poll", "restart_syscall", "sched_yield", "tgkill"}
# name in the page -> the client's word, and whether the host is a process of its own
BUDGETS = {
    "local call (GetDeviceState)": ("local", False),
    "host call (QueryVideoMemoryInfo)": ("host", False),
    "call with a nested buffer (QueryAdapterInfo)": ("nested", False),
    "signal from the CPU": ("signal", False),
    "submit to a context": ("submit", False),
    "submit to a hardware queue": ("submit-hw", False),
    "create and destroy an allocation": ("create-destroy", False),
    "lock and unlock, not the first": ("lock-unlock", False),
    "host call through the socket": ("host", True),
}


class Program:
    """A program of the build that has said it is ready, and what it has taken from the heap."""

    def __init__(self, directory, name, *arguments):
        self.counts = os.path.join(directory, name + ".counts")
        with open(self.counts, "wb") as file:
            file.write(bytes(4096))
        ready, ready_end = os.pipe()
        environment = {**os.environ, "LD_PRELOAD": COUNTER, "COUNTED_ALLOCATIONS": self.counts}
        self.process = subprocess.Popen([os.path.join(BIN, name), *arguments, "--log-level", "warn", "--ready-fd", str(ready_end)],
                                        pass_fds=[ready_end], env=environment)
        os.close(ready_end)
        with os.fdopen(ready, "rb") as file:
            if len(file.read(1)) != 1:
                sys.exit(f"call_budget: {name} did not come up")

    def allocations(self):
        with open(self.counts, "rb") as file:
            return struct.unpack("QQ", file.read(16))

    def end(self):
        self.process.terminate()
        self.process.wait()


class Strace:
    """Counts the system calls of processes, all threads together, while it lives."""

    def __init__(self, directory, programs):
        self.file = os.path.join(directory, "strace.out")
        which = [word for program in programs for word in ("-p", str(program.process.pid))]
        self.process = subprocess.Popen(["strace", "-f", "-c", "-o", self.file, *which], stderr=subprocess.PIPE, text=True)
        left = len(programs)
        while left:
            line = self.process.stderr.readline()
            if not line:
                sys.exit("call_budget: strace ended before it was attached; it needs leave to trace (root, or CAP_SYS_PTRACE)")
            left -= " attached" in line

    def end(self):
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=60)
        with open(self.file, encoding="ascii") as file:
            rows = [line.split() for line in file]
        return {row[-1]: int(row[3]) for row in rows if len(row) in (5, 6) and row[3].isdigit() and row[-1] != "total"}


def make_calls(client, count):
    client.stdin.write(f"{count}\n")
    client.stdin.flush()
    if client.stdout.readline() != "done\n":
        sys.exit("call_budget: the client failed")


def measure(directory, node, word, programs):
    """-> (system calls by name, allocations, bytes allocated), of one call."""
    client = subprocess.Popen([os.path.join(BIN, "budget-client"), node, word], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        make_calls(client, CALLS)  # what is done once, is done then
        before = [program.allocations() for program in programs]
        make_calls(client, CALLS)
        after = [program.allocations() for program in programs]
        strace = Strace(directory, programs)
        make_calls(client, CALLS)
        counted = strace.end()
    finally:
        client.stdin.close()
        client.wait()
        client.stdout.close()
    allocations, allocated = (sum(now[i] - then[i] for now, then in zip(after, before)) / CALLS for i in (0, 1))
    calls = {name: count / CALLS for name, count in counted.items() if count / CALLS >= 0.5 and name not in BETWEEN_THREADS}
    return calls, allocations, allocated


def row(name, calls, allocations, allocated):
    by_name = ", ".join(f"{call} {round(count)}" for call, count in sorted(calls.items()))
    return f"| {name} | {by_name} | {round(allocations)} | {allocated:.0f} |"


def differs(told, line):
    """Whether a row is not as the page tells it."""
    (_, _, calls, allocations, _, _), (_, _, told_calls, told_allocations, _, _) = (text.split("|") for text in (line, told))
    return calls != told_calls or allocations != told_allocations


def measure_all():
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        node, far_node, host_path = (os.path.join(directory, name) for name in ("dxg", "dxg-far", "host"))
        for path in (node, far_node):
            with open(path, "wb"):
                pass
        started = []
        try:
            started.append(Program(directory, "cuse-dxg", "serve", "--attach=fuse", "--device", node))
            for name, (word, is_far) in BUDGETS.items():
                if is_far:
                    continue
                rows.append(row(name, *measure(directory, node, word, started)))
            started.append(Program(directory, "dxg-hostsim", "--listen", host_path))
            far = Program(directory, "cuse-dxg", "serve", "--attach=fuse", "--device", far_node, "--backend=unix:" + host_path)
            started.append(far)
            for name, (word, is_far) in BUDGETS.items():
                if is_far:
                    rows.append(row(name, *measure(directory, far_node, word, [started[1], far])))
        finally:
            for program in reversed(started):
                program.end()
    return rows


def main():
    rows = measure_all()
    if "--print" in sys.argv:
        print("\n".join(rows))
        return 0
    with open(PAGE, encoding="utf-8") as file:
        page = file.read().split("\n")
    wrong = 0
    for line in rows:
        name = line.split(" | ")[0]
        told = [shown for shown in page if shown.startswith(name + " | ")]
        # The bytes depend on the C++ library's own structures; they are for the reader.
        if len(told) != 1 or differs(told[0], line):
            wrong += 1
            print(f"call_budget: docs/performance.md has\n  {told[0] if told else 'nothing'}\nand it is\n  {line}")
    if wrong:
        print("A call costs more or less than its budget. If that is meant: tests/budget/call_budget.py BIN COUNTER PAGE --print")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
