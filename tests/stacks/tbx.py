#!/usr/bin/python3
"""Intel's runtimes from the distribution over their own channel to a simulator, `dxg-hostsim --serve=tbx:PORT`, as an ordinary user.

    tbx.py once HOSTSIM PROGRAM...       the program says that all is right, and its kernels were executed there
    tbx.py same HOSTSIM PROGRAM...       inside `cuse-dxg run`: it prints the same over the node as over the channel
    tbx.py parallel N HOSTSIM PROGRAM... so many at the same time
    tbx.py trouble HOSTSIM PROGRAM HEALTHY   kernels of the one end their connection, and the other is right beside them
    tbx.py killed HOSTSIM PROGRAM...     some are killed, and the next one is right

PROGRAM has its arguments behind it.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

TIMEOUT_S = 200
NOBODY = 65534
# The runtime's names for: speak TBX, to that port, about a Tiger Lake.
KEYS = {"NEOReadDebugKeys": "1", "SetCommandStreamReceiver": "2", "ProductFamilyOverride": "tgllp", "OCL_ICD_VENDORS": "intel.icd"}

ALL_STARTED = []


def start(command, **options):
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    started = subprocess.Popen(command, text=True, **user, **options)
    ALL_STARTED.append(started)
    return started


class Server:
    """The server, as whoever may use it; copies of programs are where that user finds them."""

    def __init__(self, hostsim, options=()):
        self.directory = tempfile.TemporaryDirectory()
        os.chmod(self.directory.name, 0o755)
        reading, writing = os.pipe()
        self.log = open(self.path("log"), "w+", encoding="utf-8")
        self.process = start([self.copy(hostsim), "--serve=tbx:0", "--ready-fd", str(writing), *options], stderr=self.log,
                             pass_fds=[writing])
        os.close(writing)
        if os.read(reading, 1) != b"\n":
            sys.exit(f"the server does not start:\n{self.said()}")
        os.close(reading)
        self.port = re.search(r"127\.0\.0\.1 port (\d+)", self.said())[1]

    def path(self, name):
        return os.path.join(self.directory.name, name)

    def copy(self, program):
        place = self.path(os.path.basename(program))
        if not os.path.exists(place):
            shutil.copy(program, place)
        return place

    def said(self):
        with open(self.path("log"), encoding="utf-8") as log:
            return log.read()

    def start(self, program, *arguments):
        environment = {**os.environ, **KEYS, "TbxPort": self.port}
        return start([self.copy(program), *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def end(self):
        """Stops it, and says what it logged."""
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(TIMEOUT_S) != 0:
            sys.exit(f"the server ended with {self.process.returncode}:\n{self.said()}")
        return self.said()


def right(started, name):
    output, _ = started.communicate(timeout=TIMEOUT_S)
    if started.returncode != 0 or "all right" not in output or "not executed" in output or "left out" in output:
        sys.exit(f"{name}: exit status {started.returncode}\n{output}")
    return output


def kernels(log):
    if " error: " in log or " warning: " in log:
        sys.exit(f"the server says:\n{log}")
    count = sum(int(number) for number in re.findall(r" ([0-9]+) kernels, ", log))
    if count == 0:
        sys.exit(f"no kernel was executed:\n{log}")
    return count


def once(hostsim, program, *arguments):
    server = Server(hostsim)
    output = right(server.start(program, *arguments), program)
    print(output, end="")
    print(f"{kernels(server.end())} kernels")
    return output


def same(hostsim, program, *arguments):
    node = subprocess.run([program, *arguments], check=True, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_S).stdout
    channel = once(hostsim, program, *arguments)
    if node != channel or "memory" not in node:
        sys.exit(f"over the node:\n{node}\nover the channel:\n{channel}")


def parallel(count, hostsim, program, *arguments):
    server = Server(hostsim)
    for started in [server.start(program, *arguments) for _ in range(int(count))]:
        right(started, program)
    kernels(server.end())


def trouble(hostsim, program, healthy, *options):
    server = Server(hostsim, options)
    for name, wanted in [("wild", "page fault at 0x1234"), ("barrier", "hangs"), ("endless", "hangs"), ("call", "not executed: kernel ")]:
        started = server.start(program, name)
        beside = server.start(healthy, "--only", "add", "--group", "64", "--items", "33")
        output, _ = started.communicate(timeout=TIMEOUT_S)
        # The runtime has no word for a simulator that is gone: the next thing that it says ends it.
        if started.returncode != -signal.SIGPIPE or wanted not in server.said():
            sys.exit(f"{name}: exit status {started.returncode}\n{output}\n{server.said()}")
        right(beside, healthy)
    if server.end().count(" error: ") != 4:
        sys.exit(server.said())


def killed(hostsim, program, *arguments):
    seed = int(os.environ.get("SEED", time.time_ns() % 1_000_000))
    print(f"SEED={seed}", flush=True)
    chance = random.Random(seed)
    server = Server(hostsim)
    begin = time.monotonic()
    right(server.start(program, *arguments), program)
    whole = time.monotonic() - begin
    for _ in range(10):
        started = server.start(program, *arguments)
        time.sleep(chance.uniform(0, whole))
        started.kill()
        started.communicate(timeout=TIMEOUT_S)
    right(server.start(program, *arguments), program)
    log = server.end()
    kernels(log)
    if log.count("connected") != log.count("gone after"):
        sys.exit(f"not all connections ended:\n{log}")


if __name__ == "__main__":
    try:
        {"once": once, "same": same, "parallel": parallel, "trouble": trouble, "killed": killed}[sys.argv[1]](*sys.argv[2:])
    finally:
        for each in ALL_STARTED:
            if each.poll() is None:
                each.kill()
                each.wait()
