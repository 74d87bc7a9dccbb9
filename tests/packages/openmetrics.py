"""A small parser of OpenMetrics 1.0 (https://prometheus.io/docs/specs/om/open_metrics_spec/), as strict as the text is simple."""

import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)")
SUFFIXES = {"gauge": [""], "counter": ["_total", "_created"], "info": ["_info"], "unknown": [""]}


def parse(text):
    """{(sample name, its labels): value}; ValueError where the text is none."""
    if not text.endswith("# EOF\n"):
        raise ValueError("the last line is not '# EOF'")
    types, family, samples, described = {}, None, {}, set()
    for number, line in enumerate(text[: -len("# EOF\n")].split("\n")[:-1], 1):
        where = f"line {number}, {line!r}: "
        descriptor = re.fullmatch(rf"# (TYPE|UNIT|HELP) ({NAME}) (.+)", line)
        if descriptor:
            kind, name, rest = descriptor.groups()
            if kind == "TYPE":
                if name in types:
                    raise ValueError(where + "this family was there before")
                if rest not in SUFFIXES:
                    raise ValueError(where + "no such type")
                types[name], family = rest, name
            if name != family:
                raise ValueError(where + f"in the family {family}")
            if (kind, name) in described:
                raise ValueError(where + "said twice")
            described.add((kind, name))
            if kind == "UNIT" and not name.endswith("_" + rest):
                raise ValueError(where + "the name does not end in the unit")
            continue
        sample = SAMPLE.fullmatch(line)
        if not sample:
            raise ValueError(where + "is neither a descriptor nor a sample")
        name, labels, value = sample.groups()
        if family is None or name not in [family + suffix for suffix in SUFFIXES[types[family]]]:
            raise ValueError(where + f"no sample of the family {family}")
        if types[family] == "info" and float(value) != 1:
            raise ValueError(where + "an info is 1")
        key = (name, labels or "")
        if key in samples:
            raise ValueError(where + "a second sample of these labels")
        samples[key] = float(value)
    return samples
