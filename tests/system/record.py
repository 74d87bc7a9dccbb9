#!/usr/bin/python3
"""record.py BIN-DIR: `cuse-dxg record` of programs that fork, execute, pass descriptors, have many threads, are static or of Go.
What is recorded is what the program itself has noted, thread by thread, and what the node has recorded of the same run.

record.py BIN-DIR FILTER: the same of the conformance suite, run by a user without rights: it has the results that it has alone."""

import collections
import importlib
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile

BIN = os.path.abspath(sys.argv[1])
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PATH = f"{BIN}/cuse-dxg"
CLIENT, STATIC = f"{BIN}/dxg-record-client", f"{BIN}/dxg-record-client-static"
EINTR, EBADF, EFAULT, ENOTTY, ERESTARTSYS = 4, 9, 14, 25, 512


os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"  # leaks are looked for by ptrace


def run(*command, status=0, wait=100, **more):
    done = subprocess.run(command, text=True, capture_output=True, timeout=wait, check=False, **more)
    assert done.returncode == status, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done


def as_nobody(scratch, *command, **more):
    os.chmod(scratch, 0o777)
    return run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "HOME=/nonexistent", *command, cwd=scratch, **more)


def load_contract(into):
    protos = [f"proto/dxg/{name}.proto" for name in ("options", "trace")]
    subprocess.run(["protoc", "-I", ROOT, f"--python_out={into}", *protos], check=True)
    sys.path.insert(0, into)
    return importlib.import_module("proto.dxg.trace_pb2")


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def read(trace, path):
    """The header and the records of a recording, which is whole."""
    data = subprocess.run(["zstd", "-dcq", path], capture_output=True, check=True).stdout
    at, items = 0, []
    while at < len(data):
        size, at = varint(data, at)
        items.append(trace.TraceItem.FromString(data[at:at + size]))
        at += size
    assert not any(item.HasField("lost") for item in items), f"{path} lacks records"
    return items[0].header, [item.record for item in items[1:]]


def by_thread(records):
    threads = collections.defaultdict(list)
    for record in records:
        if record.HasField("call"):
            threads[record.tid].append(record)
    return threads


def logged(path):
    threads = collections.defaultdict(list)
    with open(path, encoding="ascii") as lines:
        for line in lines:
            tid, fd, code, result = line.split()
            threads[int(tid)].append((int(fd), int(code, 16), int(result)))
    return threads


def check_log(log, records):
    """Nothing lost, nothing in another order."""
    recorded = {tid: [(r.call.fd, r.call.code, r.result) for r in calls] for tid, calls in by_thread(records).items()}
    assert recorded == log, f"another recording than the program's log: threads {sorted(recorded)} and {sorted(log)}; first " + str(
        next(((tid, i, a, b) for tid in log for i, (a, b) in enumerate(zip(log[tid], recorded.get(tid, []))) if a != b), None))


# Of successes that the node does not tell the caller of, a recording of the caller has what was in his memory before: a list that
# cannot be written, a fence that is not needed. An adapter that is not there has an empty answer. A small number is how many bytes
# could not be written.
NOT_WRITTEN = {0x42, 0x38}


def check_suite(trace, gtest_filter):
    with tempfile.TemporaryDirectory() as scratch:
        for program in ("cuse-dxg", "dxg-conformance", "libdxg-preload.so"):
            shutil.copy(f"{BIN}/{program}", scratch)
        suite = ("./dxg-conformance", "--simulator", "--expectations", "file", f"--gtest_filter={gtest_filter}")
        done = as_nobody(scratch, "./cuse-dxg", "run", "--preload", "--record", "node.dxg", "--log-level", "error", "--",
                         "./cuse-dxg", "record", "-o", "client.dxg", "--summary", "--", *suite, wait=280)
        print(done.stdout.splitlines()[-1], *done.stderr.splitlines()[-3:], sep="\n")
        check_answers(*(by_thread(read(trace, f"{scratch}/{side}.dxg")[1]) for side in ("node", "client")))


def check_answers(node, client):
    """Thread by thread, the calls that came to the node are recorded in their order, with the same results, and those that worked with
    the same answers. What was killed is known to one side, or to both. What the kernel cannot copy in does not come to the node, nor
    what another thread has closed meanwhile; and what the kernel cannot copy out has worked there."""
    compared = 0
    for tid, theirs in node.items():
        theirs = [r for r in theirs if r.call.code >> 8 & 255 == ord("G")]
        at = 0
        for b in client[tid]:
            a = theirs[at] if at < len(theirs) else None
            killed = b.reason == b"the thread was killed during the call"
            came = a and a.call.code == b.call.code and (b.result == a.result or b.result != -EBADF and a.call.request == b.call.request)
            if (b.result in (-EFAULT, -EBADF) or killed) and not came:
                continue
            at += 1
            result = -EINTR if a.result == -ERESTARTSYS else a.result
            # A shared object's descriptor is nobody's at the node.
            assert a.call.code == b.call.code and a.pid in (0, b.pid), (a, b)
            assert result == b.result or b.result == -EFAULT or killed, (a, b)
            if (b.result == 0 or b.result > 0xff) and a.call.reply and a.call.code & 255 not in NOT_WRITTEN:
                assert a.call.reply == b.call.reply, (a, b)
                compared += 1
        assert at == len(theirs), (tid, at, len(theirs))
    assert compared > 1000, compared


def check_node(of_node, records):
    """The same questions and answers as the node has recorded, through the same open descriptions. Of what the node did not look
    at, because it refused before, only the recording of the program has the question; and what the kernel cannot copy never comes to
    a node that is a file."""
    node, client = by_thread(of_node), by_thread(r for r in records if r.result != -EFAULT)
    assert set(node) == set(client), (sorted(node), sorted(client))
    openers = {}
    for tid, theirs in node.items():
        ours = client[tid]
        assert len(theirs) == len(ours), (tid, len(theirs), len(ours))
        for a, b in zip(theirs, ours):
            result = -EINTR if a.result == -ERESTARTSYS else a.result
            assert (a.call.code, result) == (b.call.code, b.result), (a, b)
            assert a.pid == b.pid, (a, b)
            # The node says it only where that is why it refuses.
            assert a.call.inherited <= b.call.inherited and not (b.call.inherited and a.call.HasField("request")), (a, b)
            if a.result >= 0:
                assert (a.call.request, a.call.reply) == (b.call.request, b.call.reply), (a, b)
            if a.call.raw and not a.call.HasField("request") and not b.call.HasField("request"):
                assert (a.call.raw, a.call.argument) == (b.call.raw, b.call.argument), (a, b)
            openers.setdefault(b.call.file, set()).add(a.pid)
    assert all(len(pids) == 1 for pids in openers.values()), openers


def record(trace, scratch, name, *program, log=None, node=True, status=0):
    """Records a program under a node that records as well."""
    ours, theirs = f"{scratch}/{name}.dxg", f"{scratch}/{name}.node.dxg"
    done = run(PATH, "run", "--record", theirs, "--log-level", "error", "--", PATH, "record", "-o", ours, "--summary", "--", *program,
               status=status)
    header, records = read(trace, ours)
    assert header.side == trace.TraceHeader.CLIENT and header.node == "client /dev/dxg", header
    if log:
        check_log(logged(log), records)
    if node:
        check_node(read(trace, theirs)[1], records)
    return records, done.stderr


def of_kind(records, kind):
    return [getattr(record, kind) for record in records if record.HasField(kind)]


def main():
    with tempfile.TemporaryDirectory() as scratch:
        trace = load_contract(scratch)
        if len(sys.argv) > 2:
            return check_suite(trace, sys.argv[2])
        clients = {"": CLIENT, "static.": STATIC}
        recorded, said = {}, {}
        for prefix, client in clients.items():
            for mode in ("calls", "reopen", "duplicates", "forks", "passes", "threads", "exec", "leaderless", "signals", "filter", "daemon", "counted"):
                name = prefix + mode
                log = f"{scratch}/{name}.log"
                recorded[name], said[name] = record(trace, scratch, name, client, mode, log, log=log)
        for prefix in clients:
            check_modes(trace, prefix, recorded, said)

        run("go", "build", "-o", f"{scratch}/client", f"{HERE}/record_client.go",
            env={**os.environ, "HOME": scratch, "GOCACHE": f"{scratch}/go", "GOFLAGS": "-mod=mod", "GO111MODULE": "off"})
        log = f"{scratch}/go.log"
        records, _ = record(trace, scratch, "go", f"{scratch}/client", log, log=log)
        assert len(by_thread(records)) == 16, by_thread(records).keys()
        assert sum(map(len, by_thread(records).values())) == 16 * 50 * 2

        check_statuses(scratch)
        check_terminal(scratch)
        check_killed(scratch)
        check_contents(trace, scratch)


def check_modes(trace, prefix, recorded, said):
    move, process = trace.TraceMove, trace.TraceProcess

    # Each description is opened once, used, and closed once; a number that is used again is another one.
    records = recorded[prefix + "reopen"]
    opens, closes = of_kind(records, "open"), of_kind(records, "close")
    assert [o.file for o in opens] == [1, 2, 3, 4] and sorted(c.file for c in closes) == [1, 2, 3, 4], (opens, closes)
    used = [r.call.file for r in records if r.HasField("call") and r.call.code & 255 == 0x3e]
    assert used == [1, 2, 3, 1, 4, 3], used
    order = [("open", r.open.file) if r.HasField("open") else ("close", r.close.file) for r in records
             if r.HasField("open") or r.HasField("close")]
    assert order.index(("close", 2)) < order.index(("open", 3)) and order.index(("close", 1)) < order.index(("open", 4)), order

    records = recorded[prefix + "duplicates"]
    moves = [(m.from_fd, m.fd, m.file) for m in of_kind(records, "moved") if m.change == move.DUPLICATED]
    assert [(fd, file) for _, fd, file in moves[1:]] == [(50, 1), (51, 1), (60, 1), (61, 1), (50, 2)], moves
    assert [r.call.file for r in records if r.HasField("call")][-1] == 1, "a duplicate is of another description than before"

    records = recorded[prefix + "forks"]
    assert sum(p.change == process.FORKED for p in of_kind(records, "process")) == 4, of_kind(records, "process")
    assert sum(p.change == process.EXITED for p in of_kind(records, "process")) == 5
    assert any(r.HasField("call") and r.call.inherited and r.result == -ENOTTY for r in records)
    begun = set()
    for r in records:  # nobody speaks before he is born
        if r.HasField("process") and r.process.change in (process.FORKED, process.THREAD):
            begun.add(r.process.child)
        assert not r.HasField("call") or r.tid in begun or r.tid == records[0].tid, r

    records = recorded[prefix + "passes"]
    received = [m.file for m in of_kind(records, "moved") if m.change == move.RECEIVED]
    taken = [m.file for m in of_kind(records, "moved") if m.change == move.TAKEN]
    assert received == [1, 2] and taken == [1] and len(of_kind(records, "open")) == 2, of_kind(records, "moved")

    assert len(by_thread(recorded[prefix + "threads"])) == 64
    records = recorded[prefix + "exec"]
    assert sum(p.change == process.EXECUTED for p in of_kind(records, "process")) == 2, of_kind(records, "process")

    records = recorded[prefix + "leaderless"]
    assert len(of_kind(records, "open")) == len(of_kind(records, "close")) == 2, of_kind(records, "open")
    assert [r.call.file for r in records if r.HasField("call") and r.call.code & 255 == 0x3e] == 4 * [1, 2]

    records = recorded[prefix + "signals"]
    exits = sorted(p.status for p in of_kind(records, "process") if p.change == process.EXITED)
    assert exits == [0, 9, 42 << 8], exits

    records = recorded[prefix + "daemon"]
    assert "goes on, and is recorded until it ends" in said[prefix + "daemon"], said[prefix + "daemon"]
    assert len(of_kind(records, "open")) == 2

    # Two stops for each call, and one for each other file that is opened: nothing else stops.
    said_counted = said[prefix + "counted"]
    assert "cuse-dxg record: 1000 calls, with 2000 stops of their threads (2.00 for each)" in said_counted, said_counted
    with open(STATIC, "rb") as program:
        is_static = b"/ld-linux" not in program.read()  # not where sanitizers are
    if prefix and is_static:
        assert "1 other system calls, with 2 stops" in said_counted, said_counted
    assert "ioctl 0xc01047f0 is none of the calls" in said[prefix + "calls"] and said[prefix + "calls"].count("none of the calls") == 1


def check_statuses(scratch):
    """What is ours to refuse is 125, and all else is the program's."""
    into = f"{scratch}/status.dxg"
    command = (PATH, "record", "-o", into)
    run(*command, "--", "sh", "-c", "exit 7", status=7)
    run(*command, "--", "sh", "-c", "kill -TERM $$", status=-15)
    run(*command, "--", "/nonexistent", status=127)
    run(*command, "--", "/etc/passwd", status=126)
    assert "which program?" in run(*command, status=125).stderr
    assert "put -- before the program" in run(*command, "sh", "-c", "exit 7", status=125).stderr
    run(PATH, "record", "-o", "/nonexistent/file", "--", "true", status=125)
    run(PATH, "record", "--", "true", status=125)
    # It begins as it would alone: signals that are blocked or ignored, descriptors, environment, group.
    shows = ("sh", "-c", "ls /proc/$$/fd; env | sort; ps -o pgid=,sid=,tpgid= $$; exec grep -E '^Sig(Blk|Ign)' /proc/self/status")
    for prepare in (None, lambda: (signal.signal(signal.SIGCHLD, signal.SIG_IGN), signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2]))):
        alone, recorded = (run(*words, *shows, preexec_fn=prepare).stdout for words in ((), (*command, "--")))
        assert alone == recorded, (alone, recorded)
    # A node elsewhere.
    run(f"{HERE}/on-fuse-file", PATH, "--", *command, "--device", "@NODE@", "--",
        f"{BIN}/dxg-conformance", "--device", "@NODE@", "--gtest_filter=EnumAdapters*")
    with open(into, "rb") as file:
        assert file.read(4) == b"\x28\xb5\x2f\xfd"
    calls = run(PATH, "trace", "print", "--filter", "call=EnumAdapters*", into).stdout
    assert calls.count("\n") > 5, calls
    # A program that would get rights by being executed does without them, and that is said.
    shutil.copy(PATH, scratch)
    shutil.copy(shutil.which("true"), f"{scratch}/with-rights")
    os.chmod(f"{scratch}/with-rights", 0o4755)
    out = as_nobody(scratch, "./cuse-dxg", "record", "-o", "rights.dxg", "--", "./with-rights")
    assert "with-rights has the set-user-ID or set-group-ID bit, and runs without those rights" in out.stderr, out.stderr
    # A program that traces others finds a tracer; one that has none to trace is told so.
    out = run(*command, "--", PATH, "record", "-o", f"{scratch}/inner.dxg", "--", "true", status=125)
    assert "cannot be traced" in out.stderr, out.stderr


def check_killed(scratch):
    """Without its tracer a program would be refused what the filter stops: it ends with it. What was recorded before is there."""
    with subprocess.Popen((PATH, "record", "-o", f"{scratch}/killed.dxg", "--", "sh", "-c", "echo $$; read never"),
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as recorder:
        program = os.pidfd_open(int(recorder.stdout.readline()))
        recorder.kill()
        assert select.select([program], [], [], 30)[0], "the program goes on"
        os.close(program)
    assert "the recording was not closed" in run(PATH, "trace", "print", f"{scratch}/killed.dxg").stderr
    # Whoever follows it sees that nobody writes it any more; while somebody does, he waits.
    assert "the recording was not closed" in run(PATH, "trace", "print", "--follow", f"{scratch}/killed.dxg", wait=30).stderr
    into = f"{scratch}/followed.dxg"
    with subprocess.Popen((PATH, "record", "-o", into, "--", "sh", "-c", "echo; read never"), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as recorder:
        recorder.stdout.readline()
        with subprocess.Popen((PATH, "trace", "print", "--follow", into), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reader:
            assert "executes" in reader.stdout.readline()
            assert reader.poll() is None, "it ended before its recorder"
            recorder.kill()
            assert "the recording was not closed" in reader.communicate(timeout=30)[1]


def check_contents(trace, scratch):
    """Memory that calls name, and bytes that are left out, as the node's own recording has them."""
    program = (f"{BIN}/dxg-conformance", "--simulator", "--expectations", "file", "--gtest_filter=Lock.BytesStay*:Lock.Gives*:ExistingMemory.Takes*:ExistingMemory.Refuses*")
    for option, kind in (("hash", "hash"), ("full", "contents")):
        ours, theirs = f"{scratch}/memory.dxg", f"{scratch}/memory.node.dxg"
        run(PATH, "run", "--preload", "--record", theirs, "--memory", option, "--log-level", "error", "--",
            PATH, "record", "-o", ours, "--memory", option, "--", *program)
        node, client = ([(r.call.code & 255, m.bytes, getattr(m, kind)) for r in read(trace, path)[1] if r.HasField("call")
                         for m in r.call.memory if m.HasField(kind)] for path in (theirs, ours))
        assert read(trace, ours)[0].memory == getattr(trace.TraceHeader, option.upper())
        assert {code for code, _, _ in client} == {code for code, _, _ in node}, "memory of some call is missing, or too much"
        # CreateAllocation. On a busy machine a copy is given up, at either place.
        own = [{each for each in side if each[0] == 6} for side in (client, node)]
        assert own[0] and own[1] and (own[0] <= own[1] or own[1] <= own[0]), own
        if option == "full":  # of what is locked its size may be another one
            for code, _, content in client:
                assert any(code == c and content[:len(n)] == n[:len(content)] for c, _, n in node), (code, content[:64])
    # Nothing of a name or of an answer is left.
    into = f"{scratch}/redacted.dxg"
    run(PATH, "run", "--preload", "--", PATH, "record", "-o", into, "--redact", "--", f"{BIN}/dxg-info", "--check-only")
    data = subprocess.run(["zstd", "-dcq", into], capture_output=True, check=True).stdout
    assert b"dxg-info" not in data and "SimGPU".encode("utf-16-le") not in data and b" bytes " in data
    assert read(trace, into)[0].redacted
    assert " calls are the same, 0 only in the first" in run(PATH, "trace", "diff", into, into).stdout
    out = run(PATH, "record", "-o", into, "--redact", "--memory", "full", "--", "true", status=125)
    assert "--memory hash" in out.stderr, out.stderr


def check_terminal(scratch):
    """^Z stops the program and what records it, as a shell expects of a job, and SIGCONT lets both go on; the program gets ^Z itself,
    and SIGCONT once."""
    script = "import os, signal, time\n" \
        "for each in (signal.SIGTSTP, signal.SIGCONT): signal.signal(each, lambda number, frame: (" \
        "os.write(1, b'got %d\\n' % number), number == signal.SIGTSTP and os.kill(os.getpid(), signal.SIGSTOP)))\n" \
        "os.write(1, b'ready\\n')\n" \
        "while True: signal.pause()\n"
    pid, terminal = pty.fork()
    if pid == 0:
        os.execl(PATH, PATH, "record", "-o", f"{scratch}/terminal.dxg", "--", sys.executable, "-c", script)
    told = b""

    def until(what, times=1):
        nonlocal told
        while told.count(what) < times:
            assert select.select([terminal], [], [], 60)[0], (what, told)
            told += os.read(terminal, 1000)

    try:
        until(b"ready")
        for round in (1, 2, 3):
            os.write(terminal, b"\x1a")
            _, status = os.waitpid(pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status), status
            os.killpg(pid, signal.SIGCONT)
            until(b"got %d" % signal.SIGCONT, round)
        os.write(terminal, b"\x03")
        until(b"KeyboardInterrupt")
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGINT, status
        assert (told.count(b"got %d" % signal.SIGTSTP), told.count(b"got %d" % signal.SIGCONT)) == (3, 3), told
        pid = 0
    finally:
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(terminal)


main()
