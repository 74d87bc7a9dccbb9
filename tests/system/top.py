#!/usr/bin/python3
"""top.py BIN-DIR

`cuse-dxg top` on a device that is in use: what it shows is what the client did, on each way to a host; on a terminal it obeys its
keys; and whatever ends it, the terminal is as it was before.
"""

import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time

import pyte

BIN = os.path.abspath(sys.argv[1])
DIR = tempfile.mkdtemp(prefix="dxg-top-")
CONTROL = os.path.join(DIR, "control")
LIMIT_S = 30  # of anything that is waited for
MIB = 1 << 20
started = []


def program(name):
    return os.path.join(BIN, name)


def check(what, said):
    if not what:
        raise AssertionError(said)


def start(*command, **how):
    process = subprocess.Popen(command, **how)
    started.append(process)
    return process


class Client:
    """A client below `cuse-dxg run`, which does what it is told."""

    def __init__(self, *options):
        self.trace = os.path.join(DIR, "trace")
        self.run = start(program("cuse-dxg"), "run", "--control", CONTROL, "--trace-text", self.trace, *options, "--",
                         program("dxg-top-client"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.hear()

    def hear(self):
        line = self.run.stdout.readline()
        check(line == "done\n", f"the client says {line!r}")

    def do(self, what):
        self.run.stdin.write(what + "\n")
        self.hear()

    def end(self):
        self.run.stdin.close()
        check(self.run.wait(LIMIT_S) == 0, "the client fails")


def top(*options, control=CONTROL, status=0, env=None):
    done = subprocess.run([program("cuse-dxg"), "top", "--control", control, *options], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=LIMIT_S, env=env)
    check(done.returncode == status, f"top {options} ends with {done.returncode}: {done.stderr}")
    return done.stdout if status == 0 else done.stderr


def picture(*options):
    return json.loads(top("--json", "--count", "1", "--interval", "0.1", *options))


def the_client(seen):
    (process,) = seen["processes"]
    return process


def agrees_with_the_client(*options):
    client = Client(*options)
    before = picture()
    process = the_client(before)
    check(process["name"] == "dxg-top-client", f"another process: {process}")
    local = before["adapters"][0]["local"]

    client.do(f"allocate {3 * MIB}")
    after = the_client(picture())
    check(after["local_bytes"] - process["local_bytes"] == 3 * MIB, f"3 MiB became resident, and it shows {after}")
    check(after["allocated_bytes"] - process["allocated_bytes"] == 3 * MIB, f"3 MiB were allocated, and it shows {after}")
    used = picture()["adapters"][0]["local"]
    check(used["used_bytes"] - local["used_bytes"] == 3 * MIB and used["budget_bytes"] == local["budget_bytes"],
          f"the adapter shows {used}")

    client.do("refuse 7")
    refused = the_client(picture())
    check(refused["calls"] - after["calls"] == 7 and refused["refused"] - after["refused"] == 7, f"7 refusals: {refused}")
    (row,) = [each for each in picture()["refusals"] if each["call"] == "DestroyDevice"]
    check(row["count"] == 7 and row["error"] == "EINVAL" and "no live handle" in row["reason"] and row["pid"] == after["pid"],
          f"the refusal is {row}")

    client.do("work 60")
    worked = picture()
    ran = the_client(worked)["running_ns"] - refused["running_ns"]
    check(60_000_000 <= ran, f"an engine was busy for 60 ms, and it shows {ran} ns")
    engine = worked["adapters"][0]["engines"][0]
    check(engine["running_ns"] >= ran and engine["completed"] >= 1, f"the engine shows {engine}")

    client.do("wait")
    deadline = time.monotonic() + LIMIT_S
    while the_client(picture())["waiting"] != {"WaitForSynchronizationObjectFromCpu": 1}:
        check(time.monotonic() < deadline, "the wait is not shown")
    check("Waits in" in top("--once", "--interval", "0.1", "--process", str(after["pid"])), "the opened process shows no wait")
    client.do("signal")
    check(the_client(picture())["waiting"] == {}, "a wait is shown that is over")

    # The recording of the same run is what counts.
    last = the_client(picture("--process", str(after["pid"])))
    client.end()
    counts = {}
    with open(client.trace, encoding="ascii") as lines:
        for line in lines:
            call = re.match(r"[\d.]+ \[\d+\] ([A-Z]\w+)\(", line)
            if call:
                counts[call[1]] = counts.get(call[1], 0) + 1
    named = {name: call["count"] for name, call in last["calls_by_name"].items()}
    unseen = {name: count for name, count in counts.items() if name not in named}
    for name, count in named.items():
        check(counts.get(name) >= count, f"{name}: {count} shown, {counts.get(name)} recorded")
    check(sum(named.values()) == last["calls"], f"{last['calls']} calls, by name {sum(named.values())}")
    # What it calls at its end comes after the picture.
    late = set(unseen) | {name for name in named if counts[name] != named[name]}
    check(all(re.match("Destroy|Close|Unlock", name) for name in late), f"not counted: {late}")


def text_and_json():
    client = Client()
    client.do("refuse 1")
    text = top("--once", "--interval", "0.1")
    for want in ("SimGPU Discrete", "dxg-top-client", "local", "0 3D", "Refused lately", "DestroyDevice EINVAL: 0x0 is no live handle"):
        check(want in text, f"{want!r} is not in:\n{text}")
    check(text.isascii() and "\x1b" not in text, "it is not plain text")
    check(all(len(line) <= 110 for line in text.split("\n")), "a line is too long")
    rows = top("--json", "--count", "3", "--interval", "0.1").splitlines()
    check(len(rows) == 3 and all(0 < json.loads(row)["seconds"] < LIMIT_S for row in rows), f"--count 3 prints {rows}")
    # Without a terminal it says what to do.
    check("--once" in top(status=1), "it is not said that --once needs no terminal")
    client.end()


class Terminal:
    """`cuse-dxg top` on a terminal of its own, with a shell's settings before it, and what is to be seen there."""

    def __init__(self, *options, rows=24, columns=80, env=None, control=CONTROL):
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.bytes = b""
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.before = termios.tcgetattr(self.slave)
        self.top = start(program("cuse-dxg"), "top", "--control", control, "--interval", "0.1", *options,
                         stdin=self.slave, stdout=self.slave, stderr=subprocess.PIPE, text=True,
                         env={**os.environ, "TERM": "linux", **(env or {})},
                         preexec_fn=lambda: (os.setsid(), fcntl.ioctl(0, termios.TIOCSCTTY, 0)))

    def read(self, wait_s=0.1):
        while select.select([self.master], [], [], wait_s)[0]:
            some = os.read(self.master, 65536)
            self.bytes += some
            self.stream.feed(some)
            wait_s = 0

    def text(self):
        return "\n".join(self.screen.display)

    def wait(self, what, said):
        deadline = time.monotonic() + LIMIT_S
        while not what():
            check(time.monotonic() < deadline, f"{said}; the screen is\n{self.text()}")
            self.read()

    def until(self, text):
        self.wait(lambda: text in self.text(), f"{text!r} does not come")

    def until_not(self, text):
        self.wait(lambda: text not in self.text(), f"{text!r} stays")

    def press(self, keys):
        os.write(self.master, keys.encode())

    def send(self, number):
        self.top.send_signal(number)

    def state(self):
        with open(f"/proc/{self.top.pid}/stat", encoding="ascii") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0]

    def resize(self, rows, columns):
        self.read(0)
        self.screen.resize(rows, columns)
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))  # the kernel sends SIGWINCH

    def is_restored(self):
        return termios.tcgetattr(self.slave) == self.before

    def ended(self, status, said=""):
        self.wait(lambda: self.top.poll() is not None, "it does not end")
        self.read(0)
        error = self.top.stderr.read()
        check(self.top.returncode == status, f"it ends with {self.top.returncode}, not {status}: {error}")
        check(said in error, f"it says {error!r}, not {said!r}")
        check(self.is_restored(), "the terminal has other settings than before")
        # The cursor is there, and letters are plain.
        check(self.bytes.rfind(b"\x1b[?25h") > self.bytes.rfind(b"\x1b[?25l"), "the cursor stays hidden")
        os.close(self.master)
        os.close(self.slave)


def keys():
    client = Client()
    client.do("refuse 2")
    terminal = Terminal()
    for text in ("dxg-top-client", "q quit", "EINVAL x2", "sort (memory)"):
        terminal.until(text)
    check(not terminal.is_restored(), "it leaves the terminal as it is")
    terminal.press("h")
    terminal.until("Ctrl-L")
    terminal.press("h")
    terminal.press("s")
    terminal.until("sort (gpu)")
    terminal.press("f")
    terminal.until("frozen")
    client.do("refuse 5")
    terminal.press("R")
    terminal.until("sort (refused)")
    check("EINVAL x2" in terminal.text(), "a frozen picture changes")
    terminal.press("f")
    terminal.until("EINVAL x7")
    terminal.press("\x1b[B\r")  # the Down key
    terminal.until("points waited for")
    terminal.until("DestroyDevice")
    terminal.press("\x1b")
    terminal.until("sort (refused)")
    # It has no shell that would make it go on, so that the kernel does not let it stop by SIGTSTP; by SIGSTOP it does.
    terminal.send(signal.SIGTSTP)
    terminal.wait(lambda: terminal.bytes.count(b"\x1b[?25h") > 0, "it does not give the terminal back before it stops")
    terminal.send(signal.SIGSTOP)
    terminal.wait(lambda: terminal.state() == "T", "it does not stop")
    termios.tcsetattr(terminal.slave, termios.TCSANOW, terminal.before)  # as a shell does
    terminal.screen.reset()
    terminal.send(signal.SIGCONT)
    terminal.until("sort (refused)")
    check(not terminal.is_restored(), "after a stop it does not take the terminal again")
    for rows, columns in ((1, 1), (2, 10), (3, 200), (10, 33), (50, 132)):
        terminal.resize(rows, columns)
        terminal.until("c" if columns == 1 else "cuse-dxg t")
    terminal.until("QUEUED")
    terminal.press("q")
    terminal.ended(0)

    # Its other ends.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGABRT, signal.SIGSEGV):
        terminal = Terminal()
        terminal.until("dxg-top-client")
        terminal.send(number)
        terminal.ended(-number)
    terminal = Terminal()
    terminal.until("dxg-top-client")
    check(any(letter.fg != "default" for line in terminal.screen.buffer.values() for letter in line.values()), "it has no colours")
    terminal.press("\x03")
    terminal.ended(-signal.SIGINT)
    terminal = Terminal(env={"NO_COLOR": "1"})
    terminal.until("dxg-top-client")
    check(all(letter.fg == "default" for line in terminal.screen.buffer.values() for letter in line.values()),
          "there are colours in spite of NO_COLOR")
    client.end()  # and with it the daemon
    terminal.ended(1, "ended")


def unknown_terminal():
    client = Client()
    terminal = Terminal(env={"TERM": "no-such-terminal"})
    check(terminal.top.wait(LIMIT_S) == 1 and "--once" in terminal.top.stderr.read(), "an unknown terminal is not said to be one")
    client.end()


def bad_daemons():
    nowhere = os.path.join(DIR, "nowhere")
    check("cannot reach a daemon" in top("--once", control=nowhere, status=1), "nobody is there, and it is not said")
    path = os.path.join(DIR, "bad")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen(16)
    # What it answers, and what is said of it. The third and fourth are ControlReply messages: an error that a terminal would obey,
    # and a page of processes that leads to itself.
    endless = b"\x5a\x06" + b"\x42\x00" + b"\x3a\x00" + b"\x40\x01"
    for answer, said in ((b"\xff\xff\xff", "cannot be read"), (b"\x30\x01", "answers something else"),
                         (b"\x0a\x05\x1b[2Jx", "\\x1b[2Jx"), (None, "ended"), (endless, "that is no cuse-dxg")):
        asker = start(program("cuse-dxg"), "top", "--once", "--interval", "0.1", "--control", path, stderr=subprocess.PIPE, text=True)
        peer, _ = listener.accept()
        while peer.recv(65536):
            if answer is None:
                break
            try:
                peer.send(answer)
            except BrokenPipeError:
                break
        peer.close()
        error = asker.communicate(timeout=LIMIT_S)[1]
        check(asker.returncode == 1 and said in error, f"{answer!r}: it ends with {asker.returncode} and says {error!r}")
    # One that takes the question and is silent; its keys go on, and then it is said.
    terminal = Terminal(control=path)
    peer, _ = listener.accept()
    peer.recv(65536)
    peer.send(b"\x5a\x02\x60\x01")  # a live picture of a guest without anything in it
    terminal.until("0 processes")
    peer.recv(65536)
    terminal.press("h")
    terminal.until("Ctrl-L")
    terminal.ended(1, "has not answered")
    peer.close()
    listener.close()


def with_a_host(serve, backend):
    host_path = os.path.join(DIR, "host")
    ready, says_so = os.pipe()
    host = start(program("dxg-hostsim"), *(each.format(host_path) for each in serve), "--ready-fd", str(says_so),
                 pass_fds=[says_so], stderr=subprocess.DEVNULL)
    os.close(says_so)
    begun = select.select([ready], [], [], LIMIT_S)[0] and os.read(ready, 1)
    os.close(ready)
    check(begun, "the host does not begin")
    try:
        agrees_with_the_client("--backend=" + backend.format(host_path))
    finally:
        host.terminate()
        host.wait(LIMIT_S)


def main():
    try:
        for test in (agrees_with_the_client, text_and_json, keys, unknown_terminal, bad_daemons,
                     lambda: with_a_host(("--listen", "{}"), "unix:{}"), lambda: with_a_host(("--serve=vmbus:{}",), "vmbus:{}")):
            test()
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
                process.wait()
        shutil.rmtree(DIR)


main()
