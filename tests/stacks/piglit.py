#!/usr/bin/python3
"""OpenCL's built-in functions, conversions, loads and stores against known answers: the tests of Debian's piglit.

    piglit.py get DIRECTORY     puts what is needed of the package there, unless it is there: 19 MB of its 2 GB
    piglit.py run DIRECTORY     runs those of piglit.txt that have a star; --all runs all of them

`run` is for `cuse-dxg run --profile intel-tgl`, where OCL_ICD_VENDORS names the runtime; it runs on any other OpenCL too. Each test
has to end as the list says: one that passes and is not expected to is reported as well. With --jobs N so many run at a
time; --only TEXT runs those whose path has TEXT, and shows what they print; --times FILE writes what each took.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

LIST = pathlib.Path(__file__).resolve().parent / "piglit.txt"
TESTER = "bin/cl-program-tester"
PARTS = [TESTER, "lib/libpiglitutil.so*", "lib/libpiglitutil_cl.so*", "generated_tests/cl/*", "tests/cl/*"]
LOADED = {"libegl1": "libEGL.so.1*", "libglvnd0": "libGLdispatch.so.0*"}  # by its library; nothing of them is used
TIMEOUT_S = 300
RESULTS = ("pass", "fail", "skip", "warn")


class Test:
    def __init__(self, line):
        fields = re.fullmatch(r"(\w+) ([* ]) (\S+)(?:  (.+))?", line)
        if not fields or fields[1] not in RESULTS:
            sys.exit(f"{LIST.name}: {line!r}; expected: {'|'.join(RESULTS)}, a star or a blank, a path, two blanks and a reason")
        self.expected, self.path, self.reason = fields[1], fields[3], fields[4]
        self.is_quick = fields[2] == "*"
        if (self.expected == "pass") == bool(self.reason):
            sys.exit(f"{LIST.name}: {line!r}; expected a reason for what does not pass, and none for what does")


def tests():
    found = [Test(line) for line in LIST.read_text().splitlines() if line and not line.startswith("#")]
    paths = [test.path for test in found]
    if paths != sorted(set(paths)):
        sys.exit(f"{LIST.name}: expected the paths in their order, each once")
    return found


def installed():
    for folder in pathlib.Path("/usr/lib").glob("*/piglit"):
        if (folder / TESTER).exists():
            return folder
    return None


def extract(scratch, package, wanted):
    content = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", next(scratch.glob(f"{package}_*.deb"))], stdout=subprocess.PIPE)
    done = subprocess.run(["tar", "-x", "-C", scratch, "--wildcards", *wanted], stdin=content.stdout)
    content.stdout.close()
    if content.wait() != 0 or done.returncode != 0:
        sys.exit(f"the package {package} cannot be read; expected it to be whole. Run this again.")


def get(directory):
    if (directory / TESTER).exists():
        return
    directory.parent.mkdir(parents=True, exist_ok=True)
    if whole := installed():
        directory.symlink_to(whole)
        return
    with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
        scratch = pathlib.Path(scratch)
        for attempt in ["download", "update", "download"]:
            command = ["apt-get", "-q", attempt] + (["piglit", *LOADED] if attempt == "download" else [])
            done = subprocess.run(command, cwd=scratch, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if len(list(scratch.glob("*.deb"))) == 1 + len(LOADED):
                break
        else:
            sys.exit(f"apt-get download piglit: {done.stdout}\nIt needs Debian's package lists: apt-get update, as root.")
        extract(scratch, "piglit", [f"./usr/lib/*/piglit/{part}" for part in PARTS])
        whole = next(scratch.glob("usr/lib/*/piglit"))
        for package, library in LOADED.items():
            extract(scratch, package, [f"./usr/lib/*/{library}"])
            for path in scratch.glob(f"usr/lib/*/{library}"):
                path.rename(whole / "lib" / path.name)
        shutil.move(whole, directory)


def execute(directory, test):
    """What it ended with, what it printed, and its seconds."""
    environment = dict(os.environ)
    libraries = [str(directory / "lib")] + [path for path in [environment.get("LD_LIBRARY_PATH")] if path]
    environment["LD_LIBRARY_PATH"] = ":".join(libraries)
    begin = time.monotonic()
    try:
        done = subprocess.run([str(directory / TESTER), test.path], cwd=directory, env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        return "timeout", str(error.output), time.monotonic() - begin
    output = done.stdout.decode(errors="replace")
    result = re.findall(r'^PIGLIT: \{"result": "(\w+)" \}', output, re.MULTILINE)
    return result[-1] if result else f"crash ({done.returncode})", output, time.monotonic() - begin


def not_executed():
    """What the device refused, if this is one that says so."""
    if "DXG_CONTROL" not in os.environ:
        return []
    text = subprocess.run([os.environ.get("CUSE_DXG", "cuse-dxg"), "ctl", "report", "--json"], check=True, capture_output=True, text=True).stdout
    return [f"{thing['what']}: {thing['why']}" for thing in json.loads(text)["not_executed"]]


def run(options):
    directory = options.directory.resolve()
    if not (directory / TESTER).exists():
        sys.exit(f"{directory} has no {TESTER}; run first: piglit.py get {options.directory}")
    chosen = [test for test in tests() if options.only in test.path and (test.is_quick or options.all or options.only)]
    if not chosen:
        sys.exit(f"{LIST.name} has no test with {options.only!r} in its path")
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        ended = list(pool.map(lambda test: execute(directory, test), chosen))
    counts, others = {}, []
    for test, (result, output, _) in zip(chosen, ended):
        counts[result] = counts.get(result, 0) + 1
        if options.only:
            print(output, end="")
        if result != test.expected:
            lines = [line for line in output.splitlines() if line.startswith(("Expecting", "Error", "# Skipping", "Could not"))][:6]
            others.append(f"{test.path}: {result}, expected: {test.expected}" + "".join(f"\n    {line}" for line in lines))
    if options.times:
        options.times.write_text("".join(f"{seconds:.3f} {result} {test.path}\n" for test, (result, _, seconds) in zip(chosen, ended)))
    print(f"{len(chosen)} tests: " + ", ".join(f"{count} {result}" for result, count in sorted(counts.items())))
    if others:
        print("\n".join(others))
        print("".join(f"not executed: {what}\n" for what in not_executed()), end="")
        sys.exit(f"{len(others)} of {len(chosen)} did not end as {LIST.name} says")
    print("all as expected")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("get", help="put what is needed of the package there").add_argument("directory", type=pathlib.Path)
    runs = commands.add_parser("run", help="run the tests")
    runs.add_argument("directory", type=pathlib.Path)
    runs.add_argument("--all", action="store_true", help="all of the list, not only those with a star")
    runs.add_argument("--jobs", type=int, default=1, metavar="N", help="so many at a time (default: 1)")
    runs.add_argument("--only", default="", metavar="TEXT", help="those whose path has TEXT, and what they print")
    runs.add_argument("--times", type=pathlib.Path, metavar="FILE", help="seconds, result and path of each")
    options = parser.parse_args()
    if options.command == "get":
        get(options.directory)
    else:
        run(options)


main()
