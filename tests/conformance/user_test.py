#!/usr/bin/env python3
"""user_test.py BIN-DIR [NAME...]: dxg-conformance as CI systems and people use it.

Each function below is a test. They run dxg-conformance-sample, the same program around a few tests that fail, skip, crash and
hang, and where the suite itself matters dxg-conformance, in a private /dev/dxg.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml

bin_dir = os.path.abspath(sys.argv[1])
CLEAN = {name: value for name, value in os.environ.items()
         if not name.startswith(("GTEST_", "SLURM_", "CI_NODE", "JOB_COMPLETION"))}
SAMPLE, SUITE = "dxg-conformance-sample", "dxg-conformance"
NO_ENDING = "--gtest_filter=-Ending*:Environment*"


def start(program, *arguments, env=None, launcher=True, **how):
    command = launcher if isinstance(launcher, list) else [f"{bin_dir}/cuse-dxg", "run", "--"] if launcher else []
    return subprocess.Popen([*command, f"{bin_dir}/{program}", *arguments], env={**CLEAN, **(env or {})}, text=True, errors="replace",
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, **how)


def finish(process, timeout=120):
    """What it printed. A program that does not end is killed with all that it started."""
    try:
        return process.communicate(timeout=timeout)[0]
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise


def run(status, program, *arguments, **how):
    """Runs it, expects that exit status, and returns what it printed."""
    process = start(program, *arguments, **how)
    out = finish(process)
    assert process.returncode == status, f"{program} {' '.join(arguments)} ended with {process.returncode}, expected {status}:\n{out}"
    return out


def outcomes(path):
    """name -> outcome of a JSON file."""
    with open(path, encoding="utf-8") as file:
        results = json.load(file)
    return {test["name"]: test["outcome"] for test in results["tests"]}, results


def errors(path):
    """The names of the errors in JUnit's XML, whose counts have to be right."""
    suite = xml.parse(path).getroot().find("testsuite")
    cases = suite.findall("testcase")
    found = [f"{case.get('classname')}.{case.get('name')}" for case in cases if case.find("error") is not None]
    assert suite.get("errors") == str(len(found)) and suite.get("tests") == str(len(cases)), suite.attrib
    return found


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    return path


def results_file(path, info=None, **fields):
    """Writes a file of results with these fields, and these in "run"."""
    whole = {"version": "1", "node": "/dev/dxg", "node_kind": "file", "product": "", "adapter": "", "driver_version": "",
             "machine": {"host_name": "", "system": "", "architecture": "", "processors": 1}, "seed": 0, "filter": "*",
             "expectations": [], "shards": [], "started": "", **(info or {})}
    return write(path, json.dumps({"format": "dxg-conformance results 1", "run": whole, "tests": [], "complete": True, "running": "",
                                   "elapsed_ms": 1, "counts": {}, **fields}))


def a_filter_that_matches_nothing_is_an_error():
    assert "no test fits the filter Nothing.*" in run(2, SUITE, "--gtest_filter=Nothing.*")
    out = run(2, SAMPLE, "--gtest_filter=SimSample.*")
    assert "are left out" in out and "--simulator" in out, out
    assert "1 test" in run(0, SAMPLE, "--gtest_filter=SimSample.*", "--simulator")
    run(2, SAMPLE, "--gtest_filter=Nothing", "--list", launcher=False)
    write("old.json", "{}")
    run(2, SAMPLE, "--gtest_filter=Nothing", "--json", "old.json")
    assert not os.path.exists("old.json"), "the results of an earlier run are still there"
    # GoogleTest's patterns know * and ? only.
    for pattern in ("Sample.[P]asses", "Sample.Pass\\es"):
        assert f"no test fits the filter {pattern}" in run(2, SAMPLE, f"--gtest_filter={pattern}", "--json", "r.json")
    assert "no test ran" in run(2, SAMPLE, "--gtest_filter=Sample.Passes", "--gtest_repeat=0", "--json", "r.json")
    assert not os.path.exists("r.json"), "results of a run without a test"


def only_a_file_of_results_is_taken_away():
    os.mkfifo("pipe")  # stands for /dev/null, which root may remove as well
    write("real.xml", "")
    os.symlink("real.xml", "link.xml")
    run(2, SAMPLE, "--gtest_filter=Nothing", "--json", "pipe", "--junit", "link.xml")
    assert os.path.exists("pipe") and os.path.islink("link.xml") and os.path.exists("real.xml"), os.listdir()


def options_may_stand_before_and_after_those_of_googletest():
    for order in (["--simulator", "--gtest_filter=SimSample.*", "--gtest_brief=1"], ["--gtest_filter=SimSample.*", "--simulator"],
                  ["--gtest_brief=1", "--allow-skip", "A.B,C.*", "--gtest_filter=SimSample.*:Sample.Skips", "--simulator",
                   "--allow-skip", "Sample.Sk*", "--gtest_shuffle"]):
        assert "  PASSED  ] 1 test." in run(0, SAMPLE, *order)
    assert "unknown argument --gtest_no" in run(2, SAMPLE, "--gtest_no")


def version_and_list_need_no_node():
    assert run(0, SUITE, "--version", launcher=False).startswith("dxg-conformance ")
    names = run(0, SUITE, "--list", "--gtest_filter=OpenNode.*-*Very*", launcher=False).split()
    assert "OpenNode.IsAlwaysReady" in names and "OpenNode.CanBeDoneVeryOften" not in names, names
    names = run(0, SAMPLE, "--list", launcher=False).split()
    assert "All/Numbered.Passes/3" in names and "SimSample.Passes" in names, names
    assert "the tests that the filter selects" in run(0, SAMPLE, "--help", launcher=False)
    out = run(2, SUITE, "--device", "/dev/null", launcher=False)
    assert "is not a /dev/dxg node" in out, out


def files_name_what_was_tested_and_where():
    run(0, SAMPLE, "--gtest_filter=Sample.Passes", "--gtest_shuffle", "--gtest_random_seed=77", "--json", "r.json", "--junit", "r.xml",
        "--gtest_output=xml:gtest.xml")
    info = outcomes("r.json")[1]["run"]
    assert (info["node"], info["node_kind"], info["product"]) == ("/dev/dxg", "file", "cuse-dxg"), info
    assert info["adapter"].startswith("SimGPU") and info["driver_version"].count(".") == 3, info
    assert info["seed"] == 77 and info["filter"] == "Sample.Passes" and info["version"], info
    assert info["machine"]["host_name"] == os.uname().nodename and info["machine"]["processors"] > 0, info
    suite = xml.parse("r.xml").getroot().find("testsuite")
    properties = {one.get("name"): one.get("value") for one in suite.find("properties")}
    assert properties["node_kind"] == "file" and properties["seed"] == "77" and properties["system"].startswith("Linux "), properties
    assert suite.get("hostname") == os.uname().nodename and suite.get("tests") == "1"
    assert xml.parse("gtest.xml").getroot().get("tests") == "1"
    run(0, SAMPLE, "--gtest_filter=Sample.Passes", "--product", "driver 2.0.3", "--json", "r.json")
    assert outcomes("r.json")[1]["run"]["product"] == "driver 2.0.3"


def failures_of_every_kind_are_in_the_files():
    run(1, SAMPLE, "--gtest_filter=-Ending*", "--json", "r.json", "--junit", "r.xml")
    found, results = outcomes("r.json")
    expected = {"Sample.Passes": "Pass", "Sample.Fails": "Fail", "Sample.Skips": "ForbiddenSkip", "Sample.Throws": "Fail",
                "Sample.ThrowsANumber": "Fail", "Environment.AroundTheSuite": "Fail"}
    assert expected.items() <= found.items(), found
    assert results["complete"] and results["counts"]["ForbiddenSkip"] == 2, results["counts"]
    suite = xml.parse("r.xml").getroot().find("testsuite")
    failed = {f"{case.get('classname')}.{case.get('name')}" for case in suite.findall("testcase") if case.find("failure") is not None}
    assert {"Sample.Fails", "Sample.Skips", "Sample.Throws", "Sample.ThrowsANumber"} <= failed, failed
    assert int(suite.get("failures")) == len(failed) and int(suite.get("tests")) == len(found), suite.attrib
    # A skip without leave is a failure in GoogleTest's own file too. Its XML cannot hold what Sample.Fails says.
    run(1, SAMPLE, "--gtest_filter=Sample.*-*.Fails", "--gtest_output=xml:gtest.xml")
    cases = xml.parse("gtest.xml").getroot().iter("testcase")
    assert any(case.get("name") == "Skips" and case.find("failure") is not None for case in cases)


def files_are_whole_wherever_the_program_ends():
    for test, status in (("ByASignal", -signal.SIGABRT), ("ByAnExceptionInAThread", -signal.SIGABRT), ("ByAnExit", 1), ("ByAnExitAtOnce", 0)):
        process = start(SAMPLE, f"--gtest_filter=Sample.Passes:Ending.{test}", "--json", "r.json", "--junit", "r.xml")
        finish(process)
        assert process.returncode in (status, 128 - status), (test, process.returncode)
        results = outcomes("r.json")[1]
        assert not results["complete"] and results["running"] == f"Ending.{test}" and results["counts"] == {"Pass": 1}, results
        assert errors("r.xml") == [f"Ending.{test}"]
    # Between two tests.
    run(0, SAMPLE, "--gtest_filter=Sample.Passes:EndingBetween.*", "--json", "r.json", "--junit", "r.xml")
    results = outcomes("r.json")[1]
    assert not results["complete"] and results["running"] == "" and results["counts"] == {"Pass": 1}, results
    assert errors("r.xml") == ["Run.EndedEarly"]
    out = run(1, SAMPLE, "merge", "--junit", "m.xml", "r.json", launcher=False)
    assert errors("m.xml") == ["Shard.0"] and "ended early" in out, out
    # CI systems kill what takes too long.
    process = start(SAMPLE, "--gtest_filter=Sample.Passes:Ending.Never", "--json", "r.json", "--junit", "r.xml")
    for line in process.stdout:
        if line.startswith("hangs"):
            break
    os.killpg(process.pid, signal.SIGKILL)
    finish(process)
    assert outcomes("r.json")[1]["running"] == "Ending.Never"
    xml.parse("r.xml")
    assert "Crash" in run(1, SAMPLE, "merge", "--json", "m.json", "r.json", launcher=False)


def files_are_whole_before_the_first_test():
    os.mkfifo("slow.txt")  # who reads it waits for us
    process = start(SUITE, "--gtest_filter=OpenNode.*", "--expectations", "slow.txt", "--json", "r.json", "--junit", "r.xml")
    with open("slow.txt", "w", encoding="ascii"):
        os.killpg(process.pid, signal.SIGKILL)
        finish(process)
    results = outcomes("r.json")[1]
    assert not results["complete"] and results["tests"] == [] and results["run"]["filter"] == "OpenNode.*", results
    assert errors("r.xml") == ["Run.EndedEarly"]


def an_exception_that_leaves_a_test_ends_a_run_that_is_told_of():
    for flag, test in (("--gtest_catch_exceptions=0", "Throws"), ("--gtest_catch_exceptions=0", "ThrowsANumber"),
                       ("--gtest_throw_on_failure", "Fails"), ("--gtest_throw_on_failure", "Skips")):
        out = run(1, SAMPLE, flag, f"--gtest_filter=Sample.Passes:Sample.{test}", "--json", "r.json", "--junit", "r.xml")
        assert "an exception has left a test" in out and "a test has ended the program" not in out, out
        results = outcomes("r.json")[1]
        assert not results["complete"] and results["running"] == f"Sample.{test}", results
        assert errors("r.xml") == [f"Sample.{test}"]
    out = run(2, SAMPLE, "--gtest_catch_exceptions=0", "--gtest_filter=Environment.*", "--json", "r.json")
    assert "before the suite" in out and not os.path.exists("r.json"), out


EXPECTATIONS = """
# Reason: a known defect
# Tracker: https://example.org/1
Sample.Fails,Fail
Sample.Throws*,Fail

# Reason: this node cannot
# Tracker: https://example.org/2
Sample.Skips,Skip

# Reason: sometimes
# Tracker: https://example.org/3
Numbered.*,Flake
*Passes/[0-4],Flake
"""


def expectations_say_what_may_fail():
    write("all.txt", EXPECTATIONS)
    out = run(0, SAMPLE, NO_ENDING, "--expectations", "all.txt", "--json", "r.json", "--junit", "r.xml")
    found, results = outcomes("r.json")
    assert found["Sample.Fails"] == found["Sample.ThrowsANumber"] == "ExpectedFail" and found["Sample.Skips"] == "Skip", found
    assert found["All/Numbered.Passes/1"] == "Pass", "a flake that passes passes"
    assert results["run"]["expectations"] == ["all.txt"]
    assert "  ExpectedFail: a known defect (https://example.org/1)\n      Sample.Fails\n" in out, out
    assert xml.parse("r.xml").getroot().find("testsuite").get("failures") == "0"
    # A later file corrects an earlier one.
    flaky = write("flaky.txt", "# Reason: sometimes\n# Tracker: none\nSample.Fails,Flake\n")
    run(0, SAMPLE, NO_ENDING, "--expectations", "all.txt", "--expectations", flaky, "--json", "r.json")
    assert outcomes("r.json")[0]["Sample.Fails"] == "KnownFlake"


def a_pass_against_an_expectation_is_a_failure():
    for status in ("Fail", "Skip"):
        wrong = write("wrong.txt", f"# Reason: it was broken\n# Tracker: https://example.org/9\nSample.Passes,{status}\n")
        out = run(1, SAMPLE, "--gtest_filter=Sample.Passes", "--expectations", wrong, "--json", "r.json", "--gtest_output=xml:g.xml")
        assert outcomes("r.json")[0] == {"Sample.Passes": "UnexpectedPass"} and "https://example.org/9" in out, out
        assert xml.parse("g.xml").getroot().get("failures") == "1"


def what_is_not_to_run_is_named():
    never = write("never.txt", "# Reason: it hangs\n# Tracker: none\nEnding.*,NotRun\n")
    out = run(0, SAMPLE, "--gtest_filter=Sample.Passes:Ending.Never", "--expectations", never, "--json", "r.json")
    assert outcomes("r.json")[0] == {"Sample.Passes": "Pass", "Ending.Never": "NotRun"}
    assert "Ending.Never is left out: it hangs" in out, out


def bad_files_of_expectations_are_refused():
    for text, why in (("Sample.Fails\n", "is no expectation"), ("Sample.Fails,Broken\n", "is no expectation"),
                      ("Sample.Fails,Fail\n", "no reason is given"), ("# Reason: so\nSample.Fails,Fail\n", "no tracker is given"),
                      ("# Reason: so\n# Tracker: none\n\nSample.Fails,Fail\n", "4: no reason is given")):
        out = run(2, SAMPLE, "--expectations", write("bad.txt", text), "--json", "r.json")
        assert why in out and "bad.txt:" in out, out
        assert not os.path.exists("r.json")
    os.mkdir("folder")
    for name, why in (("no-such-file", "No such file"), ("folder", "Is a directory")):
        for option in ("--expectations", "--must-pass"):
            out = run(2, SAMPLE, option, name)
            assert f"cannot read {name}: {why}" in out and "or one of: file cuse" in out, out
    # What was to be left out would run.
    for status in ("NotRun", "Dangerous"):
        gone = write("gone.txt", f"# Reason: it hangs\n# Tracker: none\nEnding.*,NotRun\nSample.IsGone*,{status}\n")
        out = run(2, SAMPLE, "--gtest_filter=Sample.Passes", "--expectations", gone)
        assert "gone.txt:4: no test is called Sample.IsGone*" in out, out


def what_must_pass_passes():
    must = write("must.txt", "# Names and globs.\nSample.Passes\n*Numbered*\n-*/9\n")
    run(0, SAMPLE, "--gtest_filter=*Passes*-Environment*", "--must-pass", must)
    write("all.txt", EXPECTATIONS)
    for line, outcome in (("Sample.Fails", "Fail"), ("Sample.Skips", "Fail"), ("Sample.IsGone", "Missing")):
        must = write("must.txt", line + "\n")
        run(1, SAMPLE, NO_ENDING, "--expectations", "all.txt", "--must-pass", must, "--json", "r.json")
        assert outcomes("r.json")[0][line] == outcome, outcomes("r.json")[0]
    must = write("must.txt", "Ending.*\n")
    never = write("never.txt", "# Reason: it hangs\n# Tracker: none\nEnding.*,NotRun\n")
    run(1, SAMPLE, "--gtest_filter=Sample.Passes:Ending.Never", "--expectations", never, "--must-pass", must, "--json", "r.json")
    assert outcomes("r.json")[0]["Ending.Never"] == "Missing"
    # "auto" has no list of its own: what a shipped file expects of some node need not pass.
    skips = "OpenNode.CannotBeSought"
    run(0, SUITE, f"--gtest_filter={skips}:CreateDevice.R*", "--expectations", "file", "--must-pass", "auto")
    write("must.txt", "*\n")
    run(1, SUITE, f"--gtest_filter={skips}:CreateDevice.R*", "--expectations", "file", "--must-pass", "must.txt")
    known = write("known.txt", "# Reason: ours\n# Tracker: none\nSample.Fails,Fail\n")
    run(0, SAMPLE, "--gtest_filter=Sample.Fails", "--expectations", known)
    run(1, SAMPLE, "--gtest_filter=Sample.Fails", "--expectations", known, "--must-pass", "auto")


def shipped_files_name_tests_that_there_are():
    names = set(run(0, SUITE, "--list", "--gtest_filter=*", launcher=False).split())
    # A name that no test has is a failure, so a list of names is judged without running one of them.
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "expectations")
    import fnmatch
    for file in sorted(os.listdir(source)):
        with open(os.path.join(source, file), encoding="ascii") as lines:
            for line in lines:
                pattern = line.strip().lstrip("-").rsplit(",", 1)[0]
                if pattern and not pattern.startswith("#"):
                    assert any(fnmatch.fnmatchcase(name, pattern) for name in names), f"{file}: no test is called {pattern}"


def ctest_names_the_files_that_it_expects():
    # "auto" would judge a node that begins to do as another kind does as that kind.
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../system/CMakeLists.txt"), encoding="ascii") as file:
        wrong = [line for line in file if "--expectations auto" in line]
    assert not wrong, wrong


def auto_knows_what_a_host_of_version_27_answers():
    here = os.path.dirname(os.path.abspath(__file__))
    for profile, more in (("version27", []), ("version27-answers", ["version-27-answers"])):
        command = [f"{here}/../system/with-hostsim", f"{bin_dir}/dxg-hostsim", "--serve=vmbus:@HOST@", "--profile",
                   f"{here}/profiles/{profile}.textproto", "--", f"{bin_dir}/cuse-dxg", "run", "--backend=vmbus:@HOST@", "--"]
        run(0, SUITE, "--simulator", "--expectations", "auto", "--json", "r.json",
            "--gtest_filter=SignalFromGpu.MoreObjectsThanAMessageHoldsAreRefused", launcher=command)
        found, results = outcomes("r.json")
        assert results["run"]["expectations"] == ["file", "version-27", *more, "vmbus"], results["run"]
        assert list(found.values()) == ["Pass" if more else "ExpectedFail"], found


def dangerous_tests_stay_off_on_the_real_driver():
    dangerous = "SyncFile.MergedIsReadyWhenAllAre:Sealing.AllocationsAddedBeforeTheFirstShareCount"
    out = run(2, SUITE, "--kind", "driver", f"--gtest_filter={dangerous}:SimManyWaits.AHundred*", "--simulator")
    assert out.count("is left out:") == 3 and out.count("crashes the kernel") == 2 and "--dangerous" in out, out
    out = run(0, SUITE, "--kind", "driver", f"--gtest_filter={dangerous}:CreateDevice.*", "--json", "r.json")
    assert list(outcomes("r.json")[0].values()).count("NotRun") == 2
    assert "[  PASSED  ] 2 tests." in run(0, SUITE, "--kind", "driver", f"--gtest_filter={dangerous}", "--dangerous")
    assert "[  PASSED  ] 2 tests." in run(0, SUITE, f"--gtest_filter={dangerous}"), "here nothing is in danger"


def compare_names_what_changed():
    def results(path, version, tests, complete=True):
        return results_file(path, {"version": version}, complete=complete, tests=[
            {"name": name, "outcome": outcome, "ms": ms} for name, (outcome, ms) in tests.items()])

    before = results("a.json", "1", {"A.Same": ("Pass", 10), "A.Breaks": ("Pass", 1), "A.Mended": ("Fail", 1), "A.Slow": ("Pass", 100),
                                     "A.LittleSlower": ("Pass", 1), "A.Gone": ("Pass", 1), "A.Still": ("Fail", 1), "A.Known": ("ExpectedFail", 1),
                                     "A.Skips": ("Pass", 1), "A.LeftOut": ("UnexpectedPass", 1), "A.NowKnown": ("Pass", 1),
                                     "A.Was": ("UnexpectedPass", 1), "A.StillPasses": ("UnexpectedPass", 1)})
    after = results("b.json", "2", {"A.Same": ("Pass", 11), "A.Breaks": ("Fail", 1), "A.Mended": ("Pass", 1), "A.Slow": ("Pass", 300),
                                    "A.LittleSlower": ("Pass", 5), "A.New": ("Pass", 1), "A.NewAndBad": ("Fail", 1), "A.Still": ("Fail", 1),
                                    "A.Known": ("Pass", 1), "A.Skips": ("Skip", 1), "A.LeftOut": ("NotRun", 1), "A.NowKnown": ("ExpectedFail", 1),
                                    "A.Was": ("Fail", 1), "A.StillPasses": ("UnexpectedPass", 1)})
    out = run(1, SUITE, "compare", before, after, launcher=False)
    for line in ("Newly failing (3):", "  A.Breaks  Fail, was Pass", "  A.NewAndBad  Fail, is new", "  A.Was  Fail, was UnexpectedPass",
                 "No longer passing (3):", "  A.Skips  Skip, was Pass", "  A.LeftOut  NotRun, was UnexpectedPass", "  A.NowKnown  ExpectedFail, was Pass", "Newly passing (2):", "  A.Mended  was Fail",
                 "  A.Known  was ExpectedFail", "Slower (1):", "  A.Slow  300 ms, was 100 ms", "Gone (1):", "New (1):"):
        assert line in out.split("\n"), (line, out)
    run(0, SUITE, "compare", before, before, launcher=False)
    assert "Slower (2)" in run(1, SUITE, "compare", before, after, "--slower-ms", "3", launcher=False)
    half = results("c.json", "2", {"A.Same": ("Pass", 1)}, complete=False)
    assert "c.json is not complete" in run(1, SUITE, "compare", before, half, launcher=False)
    assert "c.json is not complete" in run(0, SUITE, "compare", half, results("d.json", "2", {"A.Same": ("Pass", 1)}), launcher=False)
    for bad in (write("bad.json", "{"), write("bad2.json", "{}"), "no-such-file"):
        assert "dxg-conformance: " in run(2, SUITE, "compare", before, bad, launcher=False)
    os.mkdir("a-folder")
    assert "cannot read a-folder: Is a directory" in run(2, SUITE, "compare", before, "a-folder", launcher=False)


def shards_come_from_every_batch_system_and_merge():
    run(0, SAMPLE, "--gtest_filter=*Numbered*", "--json", "whole.json")
    whole = outcomes("whole.json")[0]
    systems = (
        lambda i: ({"SLURM_ARRAY_TASK_ID": str(5 + 2 * i), "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_STEP": "2"}, []),
        lambda i: ({"JOB_COMPLETION_INDEX": str(i)}, ["--shards", "3"]),
        lambda i: ({"CI_NODE_INDEX": str(i + 1), "CI_NODE_TOTAL": "3"}, []),
    )
    for system in systems:
        seen = []
        for i in range(3):
            env, arguments = system(i)
            run(0, SAMPLE, "--gtest_filter=*Numbered*", "--shard-from-env", *arguments, "--json", f"{i}.json", env=env)
            found, results = outcomes(f"{i}.json")
            assert results["run"]["shards"] == [{"index": i, "total": 3}] and found, results
            seen += found
        assert sorted(seen) == sorted(whole), seen
        run(0, SAMPLE, "merge", "--json", "merged.json", "--junit", "merged.xml", "2.json", "0.json", "1.json", launcher=False)
        merged, results = outcomes("merged.json")
        assert merged == whole and results["complete"] and len(results["run"]["shards"]) == 3
        assert xml.parse("merged.xml").getroot().find("testsuite").get("tests") == str(len(whole))
    # GoogleTest's own variables.
    run(0, SAMPLE, "--gtest_filter=*Numbered*", "--json", "own.json", env={"GTEST_TOTAL_SHARDS": "3", "GTEST_SHARD_INDEX": "1"})
    assert outcomes("own.json")[1]["run"]["shards"] == [{"index": 1, "total": 3}]
    # A shard without a test is no mistake.
    run(0, SAMPLE, "--gtest_filter=Sample.Passes", "--shard-from-env", "--json", "none.json", env={"CI_NODE_INDEX": "2", "CI_NODE_TOTAL": "2"})
    assert outcomes("none.json")[0] == {} and outcomes("none.json")[1]["complete"]


def shards_that_are_wrong_or_missing_are_named():
    for env, why in (({}, "found no shard"), ({"JOB_COMPLETION_INDEX": "0"}, "--shards"), ({"CI_NODE_INDEX": "x", "CI_NODE_TOTAL": "2"}, "numbers"),
                     ({"CI_NODE_INDEX": "3", "CI_NODE_TOTAL": "2"}, "none of 2 shards"), ({"CI_NODE_INDEX": "0", "CI_NODE_TOTAL": "2"}, "none of")):
        assert why in run(2, SAMPLE, "--shard-from-env", env=env)

    def shard(i):
        run(0, SAMPLE, "--gtest_filter=*Numbered*", "--shard-from-env", "--json", f"{i}.json",
            env={"CI_NODE_INDEX": str(i), "CI_NODE_TOTAL": "2"})

    shard(1)
    assert "Shard 1 of 2 is missing" in run(1, SAMPLE, "merge", "--json", "m.json", "1.json", launcher=False)
    assert not outcomes("m.json")[1]["complete"]
    run(1, SAMPLE, "merge", "--junit", "m.xml", "1.json", launcher=False)
    assert errors("m.xml") == ["Shard.1"]
    shard(2)
    assert "are both shard 0" in run(2, SAMPLE, "merge", "--json", "m.json", "1.json", "2.json", "1.json", launcher=False)
    run(0, SAMPLE, "--gtest_filter=Sample.Passes", "--json", "other.json")
    assert "is of another run" in run(2, SAMPLE, "merge", "--json", "m.json", "1.json", "other.json", launcher=False)
    # A shard that died is repeated: the run that came to its end counts.
    with open("1.json", encoding="utf-8") as file:
        died = json.load(file)
    died.update(complete=False, tests=died["tests"][:1], running=died["tests"][1]["name"])
    write("died.json", json.dumps(died))
    for order in (["died.json", "1.json", "2.json"], ["2.json", "1.json", "died.json"]):
        run(0, SAMPLE, "merge", "--json", "m.json", *order, launcher=False)
    out = run(1, SAMPLE, "merge", "--json", "m.json", "died.json", "2.json", launcher=False)
    assert "Shard 0 of 2 ended early: died.json" in out and outcomes("m.json")[1]["counts"]["Crash"] == 1, out


def files_of_results_with_nonsense_are_refused():
    good = {"name": "A.B", "outcome": "Pass", "ms": 1}
    machine = {"host_name": "", "system": "", "architecture": ""}
    rows = [({"shards": [{"index": index, "total": total}]}, {}, why) for index, total, why in (
        (0, 0, "there are 0 shards"), (0, -1, "there are -1 shards"), (0, 100001, "there are 100001 shards"), (3, 3, "number 3 of 3"),
        (-1, 3, "number -1 of 3"), (1.5, 3, '"index" is 1.5'), (0, True, '"total" is true'), ("0", 1, '"index" is "0"'),
        (0, 2**32 + 1, '"total" is 4294967297'), (0, 2**63, '"total" is'), (-2**31 - 1, 3, '"index" is -2147483649'))]
    rows += [({"shards": {"a": {"index": 0, "total": 1}}}, {}, "Expected a list"), ({"shards": [7]}, {}, ""), ({"seed": 0.5}, {}, '"seed" is 0.5'),
             ({"machine": {**machine, "processors": "2"}}, {}, '"processors" is'), ({"machine": 1}, {}, ""), ({"filter": None}, {}, ""),
             ({"expectations": [1]}, {}, ""), ({}, {"tests": {"a": good}}, "Expected a list"), ({}, {"tests": ["A.B"]}, ""),
             ({}, {"tests": [{**good, "outcome": "Fine"}]}, "is no outcome"), ({}, {"tests": [{**good, "outcome": 1}]}, ""),
             ({}, {"tests": [{**good, "ms": "1"}]}, ""), ({}, {"tests": [{**good, "name": 1}]}, ""), ({}, {"tests": [{**good, "message": 1}]}, ""),
             ({}, {"complete": 1}, ""), ({}, {"running": False}, ""), ({}, {"elapsed_ms": "1"}, ""), ({}, {"format": "other"}, "expected the format")]
    run(0, SAMPLE, "merge", "--json", "m.json", results_file("good.json", tests=[good]), launcher=False)
    os.remove("m.json")
    for info, fields, why in rows:
        out = run(2, SAMPLE, "merge", "--json", "m.json", results_file("bad.json", info, **fields), launcher=False)
        assert "bad.json is no file of results: " in out and why in out and not os.path.exists("m.json"), (info, fields, out)


def a_file_that_cannot_be_written_is_an_error():
    assert "cannot write /no-such-folder/r.json" in run(2, SAMPLE, "--gtest_filter=Sample.Passes", "--json", "/no-such-folder/r.json")
    out = run(1, SAMPLE, "--gtest_filter=Sample.Passes", "--junit", "/dev/full")
    assert "could not be written in whole" in out, out


tests = [value for name, value in list(globals().items()) if callable(value) and name not in ("start", "finish", "run", "outcomes", "write", "callable", "errors", "results_file")
         and getattr(value, "__module__", "") == "__main__"]
chosen = [test for test in tests if not sys.argv[2:] or test.__name__ in sys.argv[2:]]
assert chosen, "no such test"
failed = 0
for test in chosen:
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        try:
            test()
            print(f"ok      {test.__name__}")
        except Exception as error:  # the next test says more
            failed += 1
            print(f"FAILED  {test.__name__}: {type(error).__name__}: {error}")
        os.chdir("/")
print(f"{len(chosen)} tests, {failed} failed")
sys.exit(1 if failed else 0)
