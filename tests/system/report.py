#!/usr/bin/env python3
"""report.py BIN-DIR: the report of a program that always asks for the same, with the host in this process, in another one and
behind a VMBus: `run --report`, `ctl report`, and what `run` says on stderr by itself."""

import json
import os
import subprocess
import sys
import tempfile

bin_dir = os.path.abspath(sys.argv[1])
here = os.path.dirname(os.path.abspath(__file__))
os.environ["PATH"] = bin_dir + os.pathsep + os.environ["PATH"]
CLIENT = f"{bin_dir}/dxg-report-client"


def run(*command, status=0):
    done = subprocess.run(command, text=True, capture_output=True, timeout=60, check=False)
    assert done.returncode == status, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done


def short(report, kind):
    return {(thing["call"], thing["what"]): thing["count"] for thing in report[kind]}


def check(report, pid):
    assert set(report) == {"version", "program", "seconds", "calls", "exact", "approximated", "unread", "not_recognized",
                           "not_executed", "refused", "lost", "differences"}, sorted(report)
    assert report["version"] == 1 and report["program"] == [CLIENT], report
    calls = {call["name"]: (call["count"], call["refused"]) for call in report["calls"]}
    assert calls["QueryAdapterInfo"] == (5, 3) and calls["SubmitCommand"] == (3, 0) and calls["Escape"] == (1, 1), calls
    assert short(report, "exact") == {("QueryAdapterInfo", "type 15 KMTQAITYPE_ADAPTERTYPE"): 1}, report["exact"]
    assert short(report, "approximated") == {("QueryAdapterInfo", "type 62 KMTQAITYPE_ADAPTERPERFDATA"): 1,
                                             ("CreateDevice", "flag RequestVSync without effect"): 1}, report["approximated"]
    assert short(report, "unread") == {("CreateContextVirtual", "private data of 24 bytes"): 1}, report["unread"]
    assert short(report, "not_executed") == {(None, "commands of a foreign format"): 3}, report["not_executed"]
    assert short(report, "not_recognized") == {}, report["not_recognized"]
    assert short(report, "refused") == {
        ("QueryAdapterInfo", "type 200"): 2, ("QueryAdapterInfo", "registry value NobodyHasThis"): 1,
        ("Escape", "type 0 ESCAPE_DRIVERPRIVATE"): 1, (None, "request code 0x0000477f"): 1}, report["refused"]
    assert not any(report["lost"].values()), report["lost"]
    for kind in ("exact", "approximated", "unread", "refused"):
        for thing in report[kind]:
            assert set(thing) == {"call", "what", "number", "count", "why", "first"}, thing
            assert 0 <= thing["first"]["seconds"] <= report["seconds"], thing
    query = next(thing for thing in report["refused"] if thing["number"] == 200)
    assert query["first"]["thread"] == pid and query["first"]["process"] == pid and "NTSTATUS" in query["why"], query
    unread = report["unread"][0]["first"]
    assert unread["thread"] == pid, "the guest knows the thread of what the host has not read"
    assert report["not_executed"][0]["first"]["process"] == pid, report["not_executed"]
    assert any("locked allocation" in text for text in report["differences"]), report["differences"]


def a_run(*backend):
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/report.json"
        done = run("cuse-dxg", "run", "--report", path, *backend, "--", CLIENT)
        with open(path, encoding="ascii") as file:
            check(json.load(file), int(done.stdout))
        assert "has not executed 3 commands" in done.stderr and "not to be believed" in done.stderr, done.stderr


def behind(listen, backend):
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/host"
        ready, child = os.pipe()
        with subprocess.Popen(["dxg-hostsim", listen.replace("@", socket), "--ready-fd", str(child), "--log-level", "error"],
                              pass_fds=[child]) as host:
            os.close(child)
            try:
                assert os.read(ready, 1) == b"\n"
                a_run(backend.replace("@", socket))
            finally:
                host.terminate()
                os.close(ready)


a_run()
behind("--listen=@", "--backend=unix:@")
behind("--serve=vmbus:@", "--backend=vmbus:@")

text = run("cuse-dxg", "run", "--report", "-", "--", CLIENT).stdout
for part in ("Refused\n", "QueryAdapterInfo type 200\n", "registry value NobodyHasThis", "Not executed", "Exact\n"):
    assert part in text, f"no '{part}' in:\n{text}"
assert run("cuse-dxg", "run", "--report", "-", "--report-format", "json", "--", "true").stdout.startswith("{")
assert run("cuse-dxg", "run", "--", "dxg-info", "--check-only").stderr == "", "all of it is executed"

# A running daemon says the same of all its programs so far.
done = run("cuse-dxg", "run", "--", "sh", "-c", f"{CLIENT} >/dev/null && cuse-dxg ctl report --json")
report = json.loads(done.stdout)
assert "program" not in report and short(report, "not_executed") == {(None, "commands of a foreign format"): 3}, report
assert "Refused" in run("cuse-dxg", "run", "--", "sh", "-c", f"{CLIENT} >/dev/null && cuse-dxg ctl report").stdout

# A file that cannot be written is heard of before the program begins.
done = run("cuse-dxg", "run", "--report", "/nowhere/report", "--", "echo", "ran", status=125)
assert "--report: cannot write /nowhere/report" in done.stderr and "ran" not in done.stdout, done

# Where the profile wants it, the device is lost instead.
with tempfile.TemporaryDirectory() as folder:
    profile = f"{folder}/strict.textproto"
    with open(os.path.join(here, "../../hostsim/adapter/profiles/discrete.textproto"), encoding="ascii") as file:
        shipped = file.read()
    with open(profile, "w", encoding="ascii") as file:
        file.write(shipped + "\nengines { unexecuted: FAULT }\n")
    done = run("cuse-dxg", "run", "--profile", profile, "--report", f"{folder}/report", "--report-format", "json", "--", CLIENT, status=3)
    with open(f"{folder}/report", encoding="ascii") as file:
        assert short(json.load(file), "not_executed") == {(None, "commands of a foreign format"): 1}
