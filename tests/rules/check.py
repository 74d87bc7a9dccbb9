#!/usr/bin/env python3
"""check.py RULE [ROOT]: checks one rule of the repository over its tracked files; exit status 1 and a line for each breach.

  format      clang-format 14 changes nothing
  text        ASCII; lines of .cc and .h at most 110 columns; no trailing blanks
  rooms       every #include goes in a direction that rooms.txt allows
  machine     no path and no package host of the machine that somebody worked on
  one-list    no second list of the calls beside proto/
  calls       every served call has a conformance test and a row in docs/calls.md
  families    a call's row, handler, conformance test and host command are in files with the name of its family
  rule-texts  every [XXX] nn in tests is a rule of docs/host-rules.md
  sizes       a file with more than 400 lines is in docs/long-files.md, with the reason why it stays whole
  walk        the newcomer's walk in docs/architecture.md has at most 15 files, and each has what its row says
  decisions   docs/decisions/README.md lists every decision, by its number and title, once and in order
  reasons     the words by which a replay knows refusals (cuse-dxg/replay/reasons.h) are in messages of the node

exceptions.txt beside this file lists what may stay, each with its reason.
"""

import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
rule = sys.argv[1] if len(sys.argv) > 1 else ""
root = os.path.abspath(sys.argv[2] if len(sys.argv) > 2 else os.path.join(HERE, "..", ".."))
breaches = []
excepted, used = {}, set()


def report(path, what):
    if path in excepted:
        used.add(path)
    else:
        breaches.append(f"{path}: {what}")


def tracked():
    # safe.directory: the tests run as root, in a clone that may belong to somebody else.
    out = subprocess.run(["git", "-c", "safe.directory=*", "-C", root, "ls-files", "-z"], check=True, capture_output=True)
    return [p for p in out.stdout.decode().split("\0") if p and os.path.isfile(os.path.join(root, p))]


def read(path):
    with open(os.path.join(root, path), "rb") as file:
        return file.read()


def text(path):
    return read(path).decode("utf-8", "replace")


def is_cxx(path):
    return path.endswith((".cc", ".h"))


def is_binary(path):
    return path.endswith(".zst") or path.startswith("tests/fuzz/corpus/")


def check_format(paths):
    sources = [p for p in paths if is_cxx(p)]
    out = subprocess.run(["clang-format-14", "--dry-run", "--ferror-limit=1", *sources], cwd=root, capture_output=True, text=True)
    for path in sorted(set(re.findall(r"^(\S+?):\d+:\d+: warning: code should be clang-formatted", out.stderr, re.M))):
        report(path, "clang-format -i would change it")
    if out.returncode != 0 and not breaches:
        breaches.append("clang-format-14 failed: " + out.stderr)


def check_text(paths):
    for path in paths:
        if is_binary(path):
            continue
        for number, line in enumerate(read(path).split(b"\n"), 1):
            if any(byte > 126 or (byte < 32 and byte != 9) for byte in line):
                report(path, f"line {number} is not plain ASCII")
            if is_cxx(path) and len(line) > 110:
                report(path, f"line {number} has {len(line)} columns")
            if is_cxx(path) and line.endswith((b" ", b"\t")):
                report(path, f"line {number} ends with blanks")


def within(path, room):
    return path == room or path.startswith(room + "/")


def check_rooms(paths):
    rooms = {}
    with open(os.path.join(HERE, "rooms.txt"), encoding="ascii") as file:
        for line in file:
            words = line.split("#")[0].split()
            if words:
                rooms[words[0]] = words[1:]
    # A line that names what is gone allows nothing, and misleads. Generated files are not tracked.
    for name in [name for room, allowed in rooms.items() for name in [room, *allowed]]:
        if not name.endswith(".gen.h") and not any(within(path, name) for path in paths):
            breaches.append(f"rooms.txt: there is no {name}")
    for path in paths:
        if not is_cxx(path):
            continue
        fits = [room for room in rooms if within(path, room)]
        if not fits:
            if not path.startswith("tests/"):
                report(path, "stands in no room of rooms.txt")
            continue
        room = max(fits, key=len)
        for included in re.findall(r'^\s*#\s*include\s+"([^"]+)"', text(path), re.M):
            own = within(included, os.path.dirname(room) if room.endswith(".cc") else room) or within(included, room)
            inner = [name for name in rooms if within(included, name) and len(name) > len(room) and within(name, room)]
            if own and (not inner or room == "cuse-dxg"):
                continue
            if not any(within(included, allowed) for allowed in rooms[room]):
                report(path, f"{room} may not include {included}")


def check_machine(paths):
    # Written in pieces, so that this file is not found.
    words = [r"(?<![\w.}])/(?:wo" + "rk|ro" + "ot|ho" + r"me)/\w", r"\.libr" + "ary", "art" + "ifactory", "/simple" + "/pypi",
             r"\bprox" + r"y\.[a-z]+\.(?:internal|local|corp)"]
    pattern = re.compile("|".join(words))
    for path in paths:
        if is_binary(path):
            continue
        for number, line in enumerate(text(path).split("\n"), 1):
            found = pattern.search(line)
            if found:
                report(path, f"line {number} names this machine: {found.group(0)}")


def calls():
    """name -> ioctl, of the served calls, from the page that is made from the contract."""
    return {row[0]: row[1] for row in re.findall(r"^\| 0x\w+ \| (\w+) \| `(LX_\w+)` .*\| yes \|", text("docs/calls.md"), re.M)}


def check_one_list(paths):
    names = calls()
    codes = set(names.values())
    for path in paths:
        if path.startswith(("proto/", "tests/golden/")) or path == "docs/calls.md" or is_binary(path):
            continue
        words = set(re.findall(r"\w+", text(path)))
        count = max(len(codes & words), len(set(names) & words))
        if count > 40:
            report(path, f"names {count} of the {len(names)} calls: a second list; proto/dxg/*.proto is the one")


def check_calls(paths):
    names = calls()
    if len(names) < 60:
        breaches.append(f"docs/calls.md: only {len(names)} served calls found; has its form changed?")
    contract = "".join(text(p) for p in paths if p.startswith("proto/dxg/"))
    for call in re.findall(r"^\s*ioctl: *\"?(LX_\w+)|\(dxg\.ioctl\) *= *\"?(LX_\w+)", contract, re.M):
        code = next(filter(None, call))
        if code not in names.values():
            breaches.append(f"docs/calls.md: no row for {code}")
    suite = "".join(text(p) for p in paths if re.match(r"tests/conformance/.*(_test|_rows)\.cc$|tests/conformance/\w+_client\.cc$", p))
    words = set(re.findall(r"\w+", suite))
    for name, code in names.items():
        if code not in words:
            report(name, f"no conformance test makes the call {code}")


def helpers(paths):
    """code -> names of the functions in tests/conformance/*_client.cc that make that call."""
    made = {}
    for path in paths:
        if not re.match(r"tests/conformance/\w+_client\.cc$", path):
            continue
        for function in text(path).split("\n}\n"):
            heads = re.findall(r"^\w[\w:&*<> ]*::(\w+)\(", function, re.M)
            for code in re.findall(r"\bLX_\w+", function) if heads else []:
                made.setdefault(code, set()).add(heads[-1])
    return made


def check_families(paths):
    families = {}
    for path in paths:
        found = re.match(r"proto/dxg/(\w+)\.proto$", path)
        rows = re.findall(r"^message (\w+) \{\n(?: *//.*\n)* *option \(dxg\.call\) = \{(.*?)\};$", text(path), re.M | re.S) if found else []
        if rows:
            families[found.group(1)] = rows

    def named(path):
        """The families in the name of a file: query_adapter_test.cc is of query_adapter and not of adapter."""
        name = f"_{os.path.splitext(os.path.basename(path))[0]}_"
        inside = [family for family in families if f"_{family}_" in name]
        return [one for one in inside if not any(one != other and f"_{one}_" in f"_{other}_" for other in inside)]

    tests, commands = {family: set() for family in families}, {}
    for path in paths:
        if re.match(r"tests/conformance/\w+_test\.cc$", path):
            for family in named(path):
                tests[family] |= set(re.findall(r"\w+", text(path)))
        if re.match(r"hostsim/.*\.cc$", path):
            for command in re.findall(r"Commands::Handle\(CommandContext&(?: \w+)?,\s+const host::(\w+)::Request", text(path)):
                commands[command] = path
    made = helpers(paths)
    count = 0
    for family, rows in families.items():
        handlers = f"cuse-dxg/guest/calls/{family}.cc"
        for call, row in rows:
            count += 1
            code = re.search(r'ioctl: "(\w+)"', row).group(1)
            if "plain:" not in row and not (handlers in paths and re.search(rf"^Task {call}\(CallOf<", text(handlers), re.M)):
                report(call, f"no handler in {handlers}, and its row in proto/dxg/{family}.proto is not plain")
            if not tests[family] & ({code} | made.get(code, set())):
                report(call, f"no conformance test in a file with {family} in its name makes the call {code}")
            command = re.search(r'command: \{ name: "(\w+)"', row)
            path = commands.get(command.group(1), "") if command else ""
            own_name = os.path.splitext(os.path.basename(path))[0].replace("_", "")
            if command and family not in named(path) and not (own_name and own_name in call.lower()):
                report(call, f"{command.group(1)} is handled in {path or 'no file of hostsim'}, which has neither {family} nor the call in its name")
    if count < 60:
        breaches.append(f"proto/dxg/*.proto: only {count} calls found; has their form changed?")


def check_rule_texts(paths):
    rules = re.findall(r"^- \*\*(\[[A-Z]{3}\] \d+)\*\* \S", text("docs/host-rules.md"), re.M)
    for twice in sorted({r for r in rules if rules.count(r) > 1}):
        breaches.append(f"docs/host-rules.md: {twice} stands there twice")
    named = {}
    for path in paths:
        if not path.startswith("tests/") or is_binary(path) or path.startswith("tests/rules/"):
            continue
        for tag in re.findall(r"\[[A-Z]{3}\] \d+ (?:to|-) \d+", text(path)):
            report(path, f"{tag} is a range; write each number, so that it is found")
        # "[RES] 112 113" and "[SYN] 136, 137" name several of a family.
        for family, numbers in re.findall(r"\[([A-Z]{3})\] (\d+(?:(?:,| and|,? *\n// *)? \d+)*)", text(path)):
            for number in re.findall(r"\d+", numbers):
                named.setdefault(path, set()).add(f"[{family}] {number}")
                if f"[{family}] {number}" not in rules:
                    report(path, f"[{family}] {number} is no rule of docs/host-rules.md")
    for rule, line in re.findall(r"^- \*\*(\[[A-Z]{3}\] \d+)\*\*(.*)$", text("docs/host-rules.md"), re.M):
        for path in re.findall(r"\(\.\./(tests/\w+/\w+\.cc)\)", line):
            if rule not in named.get(path, ()):
                report("docs/host-rules.md", f"{rule} names {path}, which does not name it")


LINES_MAX = 400


def check_sizes(paths):
    rows = re.findall(r"^\| `([^`]+)` \| (\S.*) \|$", text("docs/long-files.md"), re.M)
    reasons = dict(rows)
    for twice in sorted({path for path, _ in rows if [p for p, _ in rows].count(path) > 1}):
        breaches.append(f"docs/long-files.md: {twice} stands there twice")
    long = set()
    for path in paths:
        script = path.endswith((".py", ".sh", ".proto", ".cmake", ".txt")) or "." not in os.path.basename(path) and read(path)[:2] == b"#!"
        if (is_cxx(path) or script and not path.startswith("tests/conformance/expectations/")) and read(path).count(b"\n") > LINES_MAX:
            long.add(path)
    for path in sorted(long - set(reasons)):
        report(path, f"more than {LINES_MAX} lines; split it where there is a seam, or give the reason in docs/long-files.md")
    for path in sorted(set(reasons) - long):
        report("docs/long-files.md", f"{path} has no more than {LINES_MAX} lines any more; take its row out")


WALK_MAX = 15


def check_walk(paths):
    section = text("docs/architecture.md").partition("### A newcomer's walk\n")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| (\d+) \| `([^`]+)`[^|]* \| (.*) \|$", section, re.M)
    if [int(number) for number, _, _ in rows] != list(range(1, len(rows) + 1)) or not 1 < len(rows) <= WALK_MAX:
        breaches.append(f"docs/architecture.md: the walk has {len(rows)} rows; give 2 to {WALK_MAX}, numbered from 1")
    for number, path, what in rows:
        for other in re.findall(r"`([\w/]+\.(?:cc|h|proto))`", what):
            breaches.append(f"docs/architecture.md: row {number} of the walk sends its reader to one more file, {other}")
        if path.endswith(".gen.cc"):
            continue
        if path not in paths:
            breaches.append(f"docs/architecture.md: row {number} of the walk names {path}, which is not there")
            continue
        words = set(re.findall(r"\w+", text(path)))
        for name in re.findall(r"`((?:\w+::)*\w+)`", what):
            for word in name.split("::"):
                if word not in words:
                    breaches.append(f"docs/architecture.md: row {number} of the walk says {name}, which {path} has not")


def check_decisions(paths):
    folder = "docs/decisions/"
    pages = sorted(path.removeprefix(folder) for path in paths if path.startswith(folder) and path != folder + "README.md")
    rows = re.findall(r"^\| \[(\w+)\]\(([^)]+)\) \| (.*?) \| \S.* \|$", text(folder + "README.md"), re.M)
    listed = [page for _, page, _ in rows]
    for page in sorted(set(pages) - set(listed)):
        report(folder + "README.md", f"{page} is not listed")
    for page in sorted(set(listed) - set(pages)):
        report(folder + "README.md", f"it lists {page}, which is not there")
    if listed != sorted(set(listed)):
        report(folder + "README.md", "its rows are not in order, or one stands there twice")
    for number, page, title in rows:
        # The heading is "# 012: Title" or "# 012 Title".
        heading = text(folder + page).partition("\n")[0] if page in pages else f"# {number} {title}"
        if not page.startswith(number + "-") or heading not in (f"# {number}: {title}", f"# {number} {title}"):
            report(folder + "README.md", f"the row of {page} says [{number}] {title}; its heading is {heading!r}")
    numbers = [page[:3] for page in pages]
    for page in pages:
        if numbers.count(page[:3]) > 1 or not re.match(r"\d{3}-", page):
            report(folder + page, "expected a name that begins with a number of its own, of three digits")


# A literal may go on in the next line.
def literals(source):
    return re.findall(r'"((?:[^"\\\n]|\\.)*)"', re.sub(r'"\s*\n\s*"', "", source))


def check_reasons(paths):
    header = "cuse-dxg/replay/reasons.h"
    said = "\n".join("\n".join(literals(text(path))) for path in paths
                     if path.startswith(("cuse-dxg/guest/", "cuse-dxg/client/")) and is_cxx(path))
    code = re.sub(r"//.*|#include.*", "", text(header))
    words = literals(code)
    if not words:
        report(header, "there are no words in it")
    for each in words:
        if each not in said:
            report(header, f"no message of cuse-dxg/guest or cuse-dxg/client has {each!r}; take the words that it has now")


checks = {"format": check_format, "text": check_text, "rooms": check_rooms, "machine": check_machine, "one-list": check_one_list,
          "calls": check_calls, "families": check_families, "rule-texts": check_rule_texts, "sizes": check_sizes, "walk": check_walk,
          "decisions": check_decisions, "reasons": check_reasons}
if rule not in checks:
    sys.exit(__doc__)
with open(os.path.join(HERE, "exceptions.txt"), encoding="ascii") as file:
    for line in file:
        words = line.split(None, 2)
        if words and not line.startswith("#") and words[0] == rule:
            if len(words) < 3:
                breaches.append(f"exceptions.txt: no reason: {line.strip()}")
            excepted[words[1]] = words[-1]
checks[rule](tracked())
breaches += [f"exceptions.txt: nothing needs the exception of {path} from {rule} any more" for path in excepted if path not in used]
print("\n".join(breaches) if breaches else f"{rule}: holds")
sys.exit(1 if breaches else 0)
