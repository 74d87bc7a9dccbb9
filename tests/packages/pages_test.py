#!/usr/bin/env python3
"""pages_test.py BUILD-DIR

Each installed program has a manual page without a mistake of form, and completions for bash and zsh. All three are made from the
tables of --help, so nothing that --help names may be missing there.
"""

import os
import re
import subprocess
import sys

BUILD = os.path.abspath(sys.argv[1])
BIN = os.path.join(BUILD, "bin")
failures = 0


def fail(what):
    global failures
    failures += 1
    print("pages_test: " + what)


def output(*words, **more):
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60, **more)


def installed():
    found = set()
    for folder, _, files in os.walk(BUILD):
        if "cmake_install.cmake" in files and "_CPack" not in folder:
            with open(os.path.join(folder, "cmake_install.cmake"), encoding="utf-8") as file:
                found |= set(re.findall(rf'"{re.escape(BIN)}/([a-z-]+)"', file.read()))
    return sorted(found)


def completed(name, line):
    """What bash offers after these words, the last of which is begun."""
    script = 'source "$1"; COMP_WORDS=("${@:2}"); COMP_CWORD=$(($# - 2)); ' + "_" + name.replace("-", "_") + '; printf "%s\\n" "${COMPREPLY[@]}"'
    file = os.path.join(BUILD, "share", name, "bash-completion/completions", name)
    return output("bash", "-c", script, "bash", file, *line, cwd="/", env={**os.environ, "PATH": BIN + ":" + os.environ["PATH"]}).stdout.split()


def check_program(name):
    program, share = os.path.join(BIN, name), os.path.join(BUILD, "share", name)
    help_text = output(program, "--help").stdout
    if "Exit status" not in help_text:
        fail(f"{name} --help does not tell its exit statuses")
    page = os.path.join(share, "man/man1", name + ".1.gz")
    text = output("man", "--warnings", "-E", "ascii", "-l", page, env={**os.environ, "MANWIDTH": "1000", "LC_ALL": "C"})
    if text.stderr:
        fail(f"man {name}: {text.stderr}")
    flat = " ".join(re.sub(".\b", "", text.stdout).split())
    for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS"):
        if f" {section} " not in flat:
            fail(f"man {name} has no section {section}")
    for shell, file in (("bash", f"bash-completion/completions/{name}"), ("zsh", f"zsh/vendor-completions/_{name}")):
        output(shell, "-n", os.path.join(share, file))
    with open(os.path.join(share, f"zsh/vendor-completions/_{name}"), encoding="utf-8") as file:
        zsh = file.read()

    def check_help(words):
        """The help of a command, and of all below it."""
        shown = output(program, *words, "--help").stdout
        options = set(re.findall(r"^  (?:-\w,)?(--[a-z][a-z-]*)", shown.split("\nSubcommands:")[0].split("\n\n\n")[0], re.M))
        if words:
            options -= {"--help", "--help-all"}
        commands = re.findall(r"^  ([a-z]+)\s", shown.split("\nSubcommands:\n")[1].split("\n\n")[0], re.M) if "\nSubcommands:\n" in shown else []
        offered = completed(name, [name, *words, ""])
        for word in [*options, *commands]:
            if word not in offered:
                fail(f"bash does not complete '{' '.join([name, *words])} {word}'")
            if word not in flat or word not in zsh:
                fail(f"'{' '.join([name, *words])} {word}' is not in its manual page, or not in zsh's completion")
        for command in commands:
            check_help([*words, command])

    check_help([])


programs = installed()
for one in programs:
    check_program(one)
expected = {"cuse-dxg", "dxg-info", "dxg-hostsim", "dxg-conformance", "dxg-golden", "dxg-simulation", "dxg-bench"}
if not expected <= set(programs):
    fail(f"only {programs} are installed")
for line, words in ((["cuse-dxg", "serve", "--attach", ""], ["auto", "cuse", "fuse"]), (["cuse-dxg", "serve", "--attach", "=", "c"], ["cuse"]),
                    (["cuse-dxg", "ctl", "fault", "cl"], ["clear"]), (["cuse-dxg", "run", "--", "dxg-inf"], ["dxg-info"]),
                    (["cuse-dxg", "run", "--profile", "integ"], ["integrated"]), (["cuse-dxg", "--config", "/etc/hostn"], ["/etc/hostname"])):
    if sorted(set(completed("cuse-dxg", line))) != sorted(words):
        fail(f"bash completes {line} by {completed('cuse-dxg', line)}, expected {words}")
print(f"{len(programs)} programs: {' '.join(programs)}")
sys.exit(1 if failures else 0)
