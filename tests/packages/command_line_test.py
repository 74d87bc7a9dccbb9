#!/usr/bin/env python3
"""command_line_test.py BIN-DIR

The command line as a user and a script meet it: exit statuses, options from the environment and from a file, words in the wrong
place, and what the commands say for programs (JSON, OpenMetrics).
"""

import json
import os
import subprocess
import sys
import tempfile

import openmetrics

BIN = os.path.abspath(sys.argv[1])
failures = []
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("DXG_")}
ENVIRONMENT["PATH"] = BIN + ":" + os.environ["PATH"]


def run(*words, **more):
    environment = {**ENVIRONMENT, **more}
    return subprocess.run(words, capture_output=True, text=True, env=environment, timeout=100, stdin=subprocess.DEVNULL)


def check(condition, what, result=None):
    if not condition:
        failures.append(what)
        print(f"command_line_test: {what}")
        if result is not None:
            print(f"  status {result.returncode}\n  stdout: {result.stdout[-600:]}\n  stderr: {result.stderr[-600:]}")


def expect(status, says, *words, **more):
    result = run(*words, **more)
    check(result.returncode == status and says in result.stdout + result.stderr,
          f"{' '.join(words)} {more or ''}: expected status {status} and '{says}'", result)
    return result


def statuses(folder):
    script = os.path.join(folder, "script")
    with open(script, "w", encoding="ascii") as file:
        file.write("#!/bin/sh\nexit 3\n")
    # Of the program.
    for status in (0, 1, 2, 106, 109, 125, 126, 127):
        expect(status, "", "cuse-dxg", "run", "--", "sh", "-c", f"exit {status}")
    killed = run("cuse-dxg", "run", "--", "sh", "-c", "kill -9 $$")
    check(killed.returncode == -9, "a program that a signal ends does not end cuse-dxg by it", killed)
    expect(127, "no-such-program", "cuse-dxg", "run", "--", "no-such-program")
    expect(126, "Permission denied", "cuse-dxg", "run", "--", script)
    # Its own, whatever is wrong.
    for words, says in (
            (["--no-such-option", "--", "true"], "--no-such-option"),
            (["--workers", "0", "--", "true"], "--workers"),
            (["--workers"], "--workers"),
            (["--sandbox", "perhaps", "--", "true"], "--sandbox"),
            (["--vmbus-window", "nowhere", "--", "true"], "--vmbus-window"),
            (["--profile", "no-such", "--", "true"], "no-such"),
            (["--scenario", "earthquake", "--", "true"], "'earthquake' is none; give one of residency-then-timeout, "),
            (["--scenario", "half-filled", "--backend", "vmbus:/no/such", "--", "true"], "--scenario: the host of a VMBus"),
            (["--backend", "unix:/no/such", "--", "true"], "/no/such"),
            (["--control", "/no/such/place", "--", "true"], "/no/such/place"),
            ([], "which program?"),
            (["--"], "which program?"),
            (["dxg-info", "--json"], "put -- before the program: cuse-dxg run -- dxg-info --json"),
            (["dxg-info", "--log-level", "debug"], "put -- before the program: cuse-dxg run -- dxg-info --log-level debug"),
            (["--profile", "compute", "sh", "-c", "exit 0"], "cuse-dxg run --profile compute -- sh -c exit 0"),
            (["strace", "--", "true"], "put -- before the program: cuse-dxg run -- strace -- true")):
        expect(125, says, "cuse-dxg", "run", *words)
    expect(125, "/no/such", "cuse-dxg", "--config", "/no/such", "run", "--", "true")
    expect(0, "", "cuse-dxg", "run", "true")  # one word alone cannot be misunderstood
    # All others: 2 is a wrong command line, 1 a refusal.
    for words in (["cuse-dxg"], ["cuse-dxg", "no-such"], ["cuse-dxg", "serve", "--workers", "0"], ["cuse-dxg", "ctl", "fault", "--nth"],
                  ["dxg-hostsim"], ["dxg-hostsim", "--no-such"], ["dxg-info", "--no-such"]):
        expect(2, "--help", *words)
    expect(1, "cannot reach a daemon", "cuse-dxg", "ctl", "--control", "/no/such", "status")
    expect(1, "/no/such", "dxg-hostsim", "--listen", "/no/such/place")
    for words in (["cuse-dxg"], ["cuse-dxg", "run"], ["dxg-hostsim"], ["dxg-info"]):
        expect(0, "Exit status", *words, "--help")
    expect(0, "dxg-hostsim 0.", "dxg-hostsim", "--version")


def settings(folder):
    def adapters(*words, **more):
        result = run("cuse-dxg", *words, "--", "dxg-info", "--json", **more)
        check(result.returncode == 0, f"{words} {more}: dxg-info failed", result)
        return [adapter["name"] for adapter in json.loads(result.stdout or '{"adapters": []}')["adapters"]]

    def same(got, expected, what):
        check([name.split()[1] for name in got] == expected, f"{what}: {got}, expected {expected}")

    file, wrong = os.path.join(folder, "options"), os.path.join(folder, "wrong")
    with open(file, "w", encoding="ascii") as options:
        options.write('[run]\nprofile = ["compute", "integrated"]\n\n[serve]\nprofile = "no-such"\n')
    same(adapters("run"), ["Discrete"], "nothing is said")
    same(adapters("run", DXG_PROFILE="integrated"), ["Integrated"], "DXG_PROFILE")
    same(adapters("--config", file, "run"), ["Compute", "Integrated"], "--config")
    same(adapters("run", DXG_CONFIG=file), ["Compute", "Integrated"], "DXG_CONFIG")
    same(adapters("run", DXG_CONFIG=file, DXG_PROFILE="discrete"), ["Compute", "Integrated"], "a file before the environment")
    same(adapters("run", "--profile", "discrete", DXG_CONFIG=file, DXG_PROFILE="compute"), ["Discrete"], "the command line before all")
    with open(wrong, "w", encoding="ascii") as options:
        options.write('[run]\nprofiel = "compute"\n')
    expect(125, "profiel", "cuse-dxg", "--config", wrong, "run", "--", "true")
    expect(125, "/no/such", "cuse-dxg", "run", "--", "true", DXG_BACKEND="unix:/no/such")
    expect(125, "earthquake", "cuse-dxg", "run", "--", "true", DXG_SCENARIO="earthquake")
    expect(1, "earthquake", "dxg-hostsim", "--listen", os.path.join(folder, "host"), DXG_SCENARIO="earthquake")
    trace = os.path.join(folder, "trace")
    expect(0, "", "cuse-dxg", "run", "--", "dxg-info", "--check-only", DXG_TRACE=trace)
    check(os.path.exists(trace) and "CreateDevice(" in open(trace, encoding="utf-8").read(), "DXG_TRACE names no trace")


INSIDE = r"""
cuse-dxg ctl fault gpu-slow --node 99 2>"$dir/node" && exit 41
cuse-dxg ctl fault gpu-slow --adapter 00000000-0badbad0 2>"$dir/luid" && exit 42
cuse-dxg ctl metrics >"$dir/before" && cuse-dxg ctl status --json >"$dir/status" &&
cuse-dxg ctl fault engine-hang --nth 3 --probability 0.5 --adapter 00000000-00010000 --json >"$dir/fault" &&
cuse-dxg ctl fault list engine-hang --json >"$dir/list" && cuse-dxg ctl fault list --armed --json >"$dir/armed" &&
cuse-dxg ctl adapter add compute --json >"$dir/add" && cuse-dxg ctl adapters --json >"$dir/adapters" &&
cuse-dxg ctl fault query-not-found --every 1 >"$dir/none" && { dxg-info >"$dir/none" 2>&1 || :; } &&
cuse-dxg ctl metrics >"$dir/after" && cuse-dxg ctl fault clear --json >"$dir/clear" &&
cuse-dxg ctl adapter remove 00000000-00010000 --json >"$dir/remove"
"""


def answers(folder):
    result = run("cuse-dxg", "run", "--", "sh", "-c", INSIDE, dir=folder)
    check(result.returncode == 0, "a command of ctl failed", result)

    def text(name):
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            return file.read()

    def read(name):
        return json.loads(text(name))

    check("there is no engine 99; give 0 to 2" in text("node"), "an engine that is not there is not refused with the range")
    check("no adapter has the LUID 00000000-0badbad0" in text("luid"), "an adapter that is not there is not refused")
    check(read("status")["counts"]["adapters"] == 1, "status --json")
    check(read("fault") == {"done": True} and read("remove") == {"done": True}, "fault --json, adapter remove --json")
    point = read("list")["points"]
    check(len(point) == 1 and point[0]["rules"][0]["rule"] ==
          {"point": "engine-hang", "nth": 3, "probability": 0.5, "adapter": "00000000-00010000"}, "fault list --json")
    check(read("armed") == read("list"), "fault list --armed --json")
    check([one["profile"] for one in read("add")["adapters"]] == ["compute"] and len(read("adapters")["adapters"]) == 2, "adapters --json")
    check(read("clear") == {"cleared": 2}, "fault clear --json")
    before, after = (openmetrics.parse(text(name)) for name in ("before", "after"))
    check(before[("dxg_host_adapters", "")] == 1 and after[("dxg_host_adapters", "")] == 2, "the metrics count no adapters")
    struck = ("dxg_fault_strikes_total", 'point="query-not-found"')
    check(before[struck] == 0 and after[struck] > 0, "the metrics do not count what a fault struck")
    check(("dxg_host_lost_accesses_total", "") in after and ("dxg_host_window_bytes", "") in after, "the metrics lack a count")
    check(("dxg_adapter_info", 'luid="00000000-00010000",profile="discrete",description="SimGPU Discrete"') in after,
          "the metrics name no adapter")
    version = json.loads(run("cuse-dxg", "version", "--json").stdout)
    check("cuse-dxg " + version["version"] + "\n" == run("cuse-dxg", "--version").stdout, "version --json differs from --version")
    calls = json.loads(run("cuse-dxg", "calls", "--json").stdout)
    check(len(calls["calls"]) > 60, "calls --json")
    check(len(calls["differences"]) > 30 and len(calls["flags_without_effect"]) > 10, "calls --json has no differences")
    named = {occasion for call in calls["calls"] for occasion in call["differs"]}
    check(named == {row["what"] for row in calls["differences"] if row["calls"]}, "calls differ in what no row says, or the other way")


def parser_is_strict():
    good = "# TYPE a counter\na_total 1\n# EOF\n"
    openmetrics.parse(good)
    for bad in ("# TYPE a counter\na_total 1\n", good.replace("a_total", "a"), good.replace(" 1", " x"), good.replace("a_total 1", "a_total 1\na_total 1"),
                good.replace("counter", "number"), "# TYPE a gauge\n# UNIT a bytes\na 1\n# EOF\n", "a 1\n# EOF\n"):
        try:
            openmetrics.parse(bad)
        except ValueError:
            continue
        check(False, f"the parser takes {bad!r}")


with tempfile.TemporaryDirectory() as directory:
    os.chmod(directory, 0o755)
    parser_is_strict()
    statuses(directory)
    settings(directory)
    answers(directory)
sys.exit(1 if failures else 0)
