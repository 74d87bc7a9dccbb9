#!/usr/bin/env python3
"""results_test.py SOURCE-DIR BIN-DIR: what long work leaves and shows: results of parts, their merging, and progress on a terminal."""

import json
import os
import pty
import re
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


# In place of a libFuzzer program: says what it was called with, leaves an input, ends as FATE says, and runs an input again.
FUZZER = """#!/bin/sh
echo "called with $*"
for word; do case $word in -seed=*) seed=${word#*=} ;; -artifact_prefix=*) prefix=${word#*=} ;; -merge=1) exit 0 ;; esac; done
if [ -z "${seed-}" ]; then
  for word; do :; done
  if grep -q bad "$word"; then echo "deadly signal"; exit 77; fi
  exit 0
fi
[ -d "$1" ] || { echo "No such file or directory: $1; exiting" >&2; exit 1; }
echo good >"$1/input-$(ls "$1" | wc -l)"
echo "#$((1000 + seed))	DONE   cov: 5 ft: 5 corp: 1/1b" >&2
statistics() { echo "stat::number_of_executed_units: $((1000 + seed))" >&2; echo "stat::peak_rss_mb:              30" >&2; }
case ${FATE-well} in
  well) statistics ;;
  crash) if [ "$seed" = 2 ]; then echo bad >"${prefix}crash-0bad"; statistics; exit 77; fi; statistics ;;
  slow) echo good >"${prefix}slow-unit-0"; statistics; exit "${STATUS-0}" ;;
  fork)
    echo bad >"${prefix}crash-1"; echo bad >"${prefix}crash-2"; statistics
    echo "#4000: cov: 12 ft: 12 corp: 2 exec/s 0 oom/timeout/crash: 0/0/2 time: 0s job: 2 dft_time: 0" >&2
    exit 77 ;;
  killed) echo bad >"${prefix}crash-early"; kill -KILL $$ ;;
  power) echo bad >"${prefix}crash-early"; kill -KILL $PPID ;;
  interrupted) echo bad >"${prefix}crash-early"; statistics; exit 72 ;;
  none) exit "${STATUS-0}" ;;
esac
"""
TASK, REPORT = os.path.join(SOURCE, "tools/fleet/task"), os.path.join(SOURCE, "tools/fleet/report")


def program(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    os.chmod(path, 0o755)
    return path


def fuzz(status, folder, index, *options, total=3, name="fuzz_it", restart=0, **environment):
    """Runs a task of an array of Slurm that fuzzes: what it said, its results if it left some, and its log."""
    fuzzer = program(os.path.join(folder, name), FUZZER)
    text = run(status, TASK, os.path.join(folder, "results"), "fuzz", fuzzer, *options, SLURM_ARRAY_TASK_ID=str(index),
               SLURM_ARRAY_TASK_COUNT=str(total), SLURM_RESTART_COUNT=str(restart), **environment)
    base = os.path.join(folder, f"results/fuzz-{name}-{index}-{restart}")
    with open(base + ".log", encoding="utf-8") as file:
        return text, load(base + ".json"), file.read()


def test_fuzzers_leave_results(folder):
    results = os.path.join(folder, "results")
    for index in range(3):
        text, left, log = fuzz(0, folder, index, "-max_len=9", folder)
        assert text == f"fuzz_it, seed {index + 1}: {1001 + index} runs, status 0, artifacts: 0\n", text
        assert left == {"fuzzer": os.path.join(folder, "fuzz_it"), "options": ["-max_len=9", folder], "seed": index + 1, "complete": True,
                        "shards": [{"index": index, "total": 3}], "status": 0, "runs": 1001 + index, "artifacts": []}, left
        corpus = os.path.join(results, f"corpus/fuzz_it-{index}")
        assert f"called with {corpus} -max_len=9 {folder} -seed={index + 1} " in log and os.listdir(corpus) == ["input-0"], log
    assert run(0, REPORT, results, "fuzz") == "fuzz:\nfuzz_it: 3006 runs in 3 of 3 shards, artifacts: 0\n"
    merged = load(os.path.join(results, "fuzz.json"))
    assert merged["complete"] and [(one["runs"], len(one["shards"])) for one in merged["fuzzers"]] == [(3006, 3)], merged
    # Several fuzzers in one folder; the other one's second task is missing. The numbers are those of the array 10-20:10.
    fuzz(0, folder, 20, total=2, name="other", SLURM_ARRAY_TASK_MIN="10", SLURM_ARRAY_TASK_STEP="10")
    text = run(1, REPORT, results, "fuzz")
    assert "fuzz_it: 3006 runs in 3 of 3 shards" in text and text.endswith("other: 1002 runs in 1 of 2 shards, artifacts: 0\nother: shard 0 of 2 is missing.\n"), text
    assert not load(os.path.join(results, "fuzz.json"))["complete"]


def test_what_a_fuzzer_finds_is_in_the_report(folder):
    folder = os.path.join(folder, 'with a "space"')
    os.mkdir(folder)
    results = os.path.join(folder, "results")
    for index in range(3):
        text, left, _ = fuzz(0, folder, index, "-timeout=7", "-runs=9", FATE="crash")
        assert (left["complete"], left["status"], left["artifacts"]) == ((True, 77, ["crash-0bad"]) if index == 1 else (True, 0, [])), left
    text = run(1, REPORT, results, "fuzz")
    artifact = os.path.join(results, "fuzz-fuzz_it-1-0/crash-0bad")
    assert f"fuzz_it: 3006 runs in 3 of 3 shards, artifacts: 1\nfuzz_it, seed 2: {artifact}\nAgain: " in text, text
    [command] = re.findall("^Again: (.*)$", text, re.MULTILINE)
    again = run(77, "sh", "-c", command)
    assert again == f"called with -timeout=7 {artifact}\ndeadly signal\n", again
    os.remove(artifact)  # it is still known
    assert artifact in run(1, REPORT, results, "fuzz")
    change(os.path.join(results, "fuzz-fuzz_it-1-0.json"), artifacts=[])
    assert "shard 1 of 3 ended with status 77" in run(1, REPORT, results, "fuzz")


def test_slow_inputs_and_forks(folder):
    fuzz(0, folder, 0, total=1, FATE="slow")  # a slow input is shown, and no failure
    text = run(0, REPORT, os.path.join(folder, "results"), "fuzz")
    assert "artifacts: 1\n" in text and "/slow-unit-0\nAgain: " in text, text
    _, left, _ = fuzz(3, folder, 0, total=1, name="fails", FATE="slow", STATUS="3")
    assert not left["complete"], left
    _, left, _ = fuzz(0, folder, 0, "-fork=1", total=1, name="forks", FATE="fork")
    assert (left["runs"], left["artifacts"]) == (4000, ["crash-1", "crash-2"]), left
    assert run(1, REPORT, os.path.join(folder, "results"), "fuzz").count("crash-") == 4


def test_a_fuzzer_that_dies_or_cannot_start_is_an_error(folder):
    results = os.path.join(folder, "results")
    _, left, _ = fuzz(137, folder, 0, total=1, name="killed", FATE="killed")
    assert (left["complete"], left["status"], left["runs"]) == (False, 137, None), left
    _, left, _ = fuzz(-9, folder, 0, total=1, FATE="power")  # the task dies too, as on a machine that loses its power
    assert (left["complete"], left["status"], left["artifacts"]) == (False, None, []), left
    text = run(1, REPORT, results, "fuzz")
    assert f"shard 0 of 1 ended early. Its log: {results}/fuzz-fuzz_it-0-0.log\n" in text and "/fuzz-fuzz_it-0-0/crash-early\nAgain: " in text, text
    fuzz(0, folder, 0, total=1, restart=1)
    assert sorted(os.listdir(os.path.join(results, "corpus/fuzz_it-0"))) == ["input-0", "input-1"], "it does not go on with its inputs"
    text = run(1, REPORT, results, "fuzz")  # for what the first attempt has found
    assert "fuzz_it: 1001 runs in 1 of 1 shards, artifacts: 1\n" in text and "fuzz_it: shard" not in text, text
    for status, fate, its in ((72, "interrupted", 72), (1, "none", 0), (1, "none", 1), (77, "none", 77)):
        text, left, _ = fuzz(status, folder, 0, total=1, name=f"{fate}-{its}", FATE=fate, STATUS=str(its))
        assert f"ended early, with status {its};" in text and (left["complete"], left["status"]) == (False, its), text
    number = {"JOB_COMPLETION_INDEX": "0"}
    assert "not found" in run(127, TASK, results, "fuzz", "--shards", "1", os.path.join(folder, "no-such"), **number)
    fuzzer = os.path.join(folder, "fuzz_it")
    assert "Give it as fuzz --shards N" in run(2, TASK, results, "fuzz", fuzzer, **number)
    assert "expected less than 1" in run(2, TASK, results, "fuzz", "--shards", "1", fuzzer, JOB_COMPLETION_INDEX="1")
    assert "expected numbers" in run(2, TASK, results, "fuzz", "--shards", "1", fuzzer, JOB_COMPLETION_INDEX="x")
    run(2, TASK, results, "fuzz", **number)
    for option in ("-seed=1", "-artifact_prefix=x", "-jobs=2", "-merge=1"):
        assert f"{option} is not taken" in run(2, TASK, results, "fuzz", "--shards", "1", fuzzer, option, **number)


def test_results_of_fuzzers_that_do_not_belong_together_are_refused(folder):
    path = os.path.join(folder, "results/fuzz-fuzz_it-1-0.json")
    for index in range(3):
        fuzz(0, folder, index)
    for what in ({"fuzzer": "/another/fuzz_it"}, {"options": ["-max_len=1"]}, {"shards": [{"index": 1, "total": 4}]}):
        before = load(path)
        change(path, **what)
        assert "is of another run" in run(2, REPORT, os.path.join(folder, "results"), "fuzz"), what
        change(path, **before)
    for text in ("", "{", "{}", "[]", '{"shards": [{"index": 3, "total": 3}]}'):
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        assert f"{path} is no result of a fuzzer" in run(2, REPORT, os.path.join(folder, "results"), "fuzz"), text


def test_the_page_fuzzes_on_slurm(folder):
    """The commands of docs/fleet.md, with an sbatch that runs a job at once, on folders in place of the page's."""
    with open(os.path.join(SOURCE, "docs/fleet.md"), encoding="ascii") as file:
        [section] = re.findall(r"^## Fuzzers\n(.*?)^## ", file.read(), re.MULTILINE | re.DOTALL)
    script = "".join(line[4:] + "\n" for line in section.splitlines() if line.startswith("    "))
    assert "/task /shared/results fuzz " in script and "-merge=1" in script, script
    program(os.path.join(folder, "sbatch"), """#!/bin/sh
array=0-0
while :; do case $1 in --array=*) array=${1#*=} ;; --parsable | --requeue | --open-mode=append | --dependency=afterany:7) ;; *) break ;; esac; shift; done
for index in $(seq "${array%-*}" "${array#*-}"); do
  SLURM_ARRAY_TASK_ID=$index SLURM_ARRAY_TASK_COUNT=$((${array#*-} + 1)) "$@" >&2 || exit
done
echo 7
""")
    os.makedirs(os.path.join(folder, "cuse-dxg/build-asan/bin"))
    program(os.path.join(folder, "cuse-dxg/build-asan/bin/fuzz_session"), FUZZER)
    for page, here in (("/usr/share/cuse-dxg/fleet", os.path.join(SOURCE, "tools/fleet")), ("/shared/", folder + "/")):
        assert page in script, page
        script = script.replace(page, here)
    text = run(0, "sh", "-eu", "-c", script, PATH=folder + ":" + CLEAN["PATH"])
    assert re.search(r"^fuzz_session: \d+ runs in (\d+) of \1 shards, artifacts: 0$", text, re.MULTILINE), text


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
