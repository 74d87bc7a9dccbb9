#!/usr/bin/env python3
"""results_test.py SOURCE-DIR BIN-DIR: what long work leaves and shows: results of parts, their merging, and progress on a terminal."""

import json
import os
import pty
import subprocess
import sys
import tempfile

SOURCE, BIN = (os.path.abspath(path) for path in sys.argv[1:3])
SIMULATION, GOLDEN = os.path.join(BIN, "dxg-simulation"), os.path.join(BIN, "dxg-golden")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "CI_NODE", "JOB_COMPLETION"))}


def run(status, *words, **environment):
    result = subprocess.run(words, env={**CLEAN, **environment}, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == status, f"{words} ended with {result.returncode}, expected {status}: {result.stdout}{result.stderr}"
    return result.stdout + result.stderr


def part(folder, index, total, seeds=10, *more):
    """Runs a part and returns its file."""
    path = os.path.join(folder, f"{index}.json")
    run(0, SIMULATION, "--seeds", str(seeds), "--shard-from-env", "--json", path, *more, CI_NODE_INDEX=str(index), CI_NODE_TOTAL=str(total))
    return path


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def change(path, **what):
    with open(path, encoding="utf-8") as file:
        results = json.load(file)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(results | what, file)


def test_parts_are_the_whole(folder):
    for total in (1, 3, 12):  # also more parts than seeds
        files = [part(folder, index, total) for index in range(1, total + 1)]
        done = [load(path)["done"] for path in files]
        assert sum(done) == 10 and max(done) - min(done) <= 1, done
        merged = os.path.join(folder, "merged.json")
        assert run(0, SIMULATION, "merge", "--json", merged, *reversed(files)).startswith("10 seeds of 60 calls: all as")
        results = load(merged)
        assert results["complete"] and results["done"] == 10 and len(results["shards"]) == total, results
        if total > 1:  # no part any more
            assert "expected those of one" in run(2, SIMULATION, "merge", merged)


def test_each_part_has_its_own_seeds(folder):
    """Seen by what --verbose prints: the seeds of a part alone print the same."""
    whole = run(0, SIMULATION, "--first", "5", "--seeds", "4", "--steps", "3", "--verbose")
    printed = [run(0, SIMULATION, "--first", "5", "--seeds", "4", "--steps", "3", "--verbose", "--shard-from-env", CI_NODE_INDEX=str(index),
                   CI_NODE_TOTAL="3") for index in (1, 2, 3)]
    steps = [line for text in printed for line in text.splitlines() if "as the model says" not in line]
    assert steps == whole.splitlines()[:-1] and steps, (steps, whole)


def test_what_is_missing_or_broken_is_said(folder):
    files = [part(folder, index, 3) for index in (1, 2, 3)]
    assert "Shard 1 of 3 is missing.\n" in run(1, SIMULATION, "merge", files[0], files[2])
    change(files[1], complete=False, done=0)
    text = run(1, SIMULATION, "merge", *files)
    assert "Shard 1 of 3 ended early.\n" in text and "Not complete: 3 seeds are missing.\n" in text, text
    again = os.path.join(folder, "again.json")
    os.rename(files[1], again)
    part(folder, 2, 3)
    run(0, SIMULATION, "merge", again, *files)
    run(0, SIMULATION, "merge", *files, again)
    change(files[0], broken=[{"seed": 2, "step": 7, "what": "a fence is 3, expected 4"}])
    text = run(1, SIMULATION, "merge", *files)
    assert "memory seed 2, step 7: a fence is 3, expected 4\nAgain: dxg-simulation --kind memory --seed 2 --steps 60 --verbose\n" in text, text
    assert "10 seeds of 60 calls: 1 not as the model says\n" in text, text


def test_files_that_do_not_belong_together_are_refused(folder):
    files = [part(folder, index, 3) for index in (1, 2, 3)]
    for what in ({"kind": "work"}, {"seeds": 11}, {"first": 2}, {"steps": 61}, {"version": "0"}, {"shards": [{"index": 1, "total": 4}]}):
        before = load(files[1])
        change(files[1], **what)
        assert "is of another run" in run(2, SIMULATION, "merge", *files), what
        change(files[1], **before)
    for shards in ([], [{"index": 3, "total": 3}], [{"index": 0, "total": 0}], [{"index": -1, "total": 3}], "x"):
        change(files[1], shards=shards)
        run(2, SIMULATION, "merge", *files)
    run(2, SIMULATION, "merge", os.path.join(folder, "none.json"))
    run(2, SIMULATION, "merge")
    run(2, SIMULATION, "--shard-from-env", "--seeds", "1")
    run(2, SIMULATION, "--seeds", "1", "--json", os.path.join(folder, "none", "results.json"))


def test_a_task_that_cannot_work_fails(folder):
    task = os.path.join(SOURCE, "tools/fleet/task")
    run(2, task, folder, "simulation", "--seeds", "1")  # it has no number
    run(2, task, folder, "cooking", JOB_COMPLETION_INDEX="0")
    for index, words in ((0, ["--no-such-option"]), (1, ["--seeds", "1", "--shards", "1"])):
        run(2, task, folder, "simulation", *words, JOB_COMPLETION_INDEX=str(index), PATH=BIN + ":" + CLEAN["PATH"])
    run(0, task, folder, "simulation", "--seeds", "1", "--shards", "1", JOB_COMPLETION_INDEX="0", PATH=BIN + ":" + CLEAN["PATH"])


def on_a_terminal(*words):
    """What it writes to the terminal behind stderr."""
    mine, its = pty.openpty()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=its, env=CLEAN)
    os.close(its)
    shown = b""
    try:
        while data := os.read(mine, 4096):
            shown += data
    except OSError:
        pass  # nobody has the other end any more
    os.close(mine)
    assert process.wait() == 0, shown
    return shown.decode()


def test_progress_is_for_terminals(_):
    works = {"1 of 300 seeds": [SIMULATION, "--seeds", "300"],
             "1 of 7 tests": [os.path.join(BIN, "cuse-dxg"), "run", "--", os.path.join(BIN, "dxg-conformance"), "--gtest_filter=CreateDevice.*"],
             " records": [GOLDEN, os.path.join(SOURCE, "tests/golden", sorted(name for name in os.listdir(os.path.join(SOURCE, "tests/golden")) if ".jsonl" in name)[0])]}
    for text, words in works.items():
        shown = on_a_terminal(*words)
        assert text in shown and shown.endswith("\r\033[K"), shown
        piped = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=CLEAN, timeout=60, check=True)
        assert piped.stderr == b"", piped.stderr


for name, test in list(globals().items()):
    if name.startswith("test_"):
        with tempfile.TemporaryDirectory() as directory:
            test(directory)
        print(name)
