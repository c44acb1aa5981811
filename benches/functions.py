#!/usr/bin/env python3
"""Prints the functions that an operation's instructions are in, for rows of `instructions`.

    python3 benches/functions.py [--write] [ROW ...]

It needs valgrind, and a build of the benchmarks: `cargo build --release -p soloio-benches`. As in
the table of `instructions`, the counts are the difference of two runs, divided by the operations
between them. A function that is inlined belongs to its caller. `--write` stores the output in
docs/functions.txt.
"""

import collections
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "docs/functions.txt"
ROWS = ["tcp-echo", "tcp-echo-alone", "tcp-echo-timeout", "tcp-request", "lines", "udp-echo",
        "tls-echo", "tls-send"]
# A function with a smaller part of a row is among the others.
LEAST = 0.02


def program() -> pathlib.Path:
    """Returns the program of the benchmarks, where cargo has built it."""
    metadata = subprocess.run(
        ["cargo", "metadata", "--format-version=1", "--no-deps"],
        cwd=ROOT, check=True, capture_output=True, text=True).stdout
    target = re.search(r'"target_directory":"([^"]*)"', metadata)
    return pathlib.Path(target[1]) / "release/soloio-benches"


def own_costs(profile: pathlib.Path) -> collections.Counter:
    """Returns the instructions of each function in a file of callgrind, without its callees'."""
    costs, names, function, called = collections.Counter(), {}, None, False
    for line in profile.read_text().splitlines():
        if line.startswith("fn="):
            number, name = re.fullmatch(r"fn=(\(\d+\))(?: (.*))?", line).groups()
            function = names.setdefault(number, name)
        elif line.startswith(("cfn=", "cfni=")):
            number, name = re.fullmatch(r"cfni?=(\(\d+\))(?: (.*))?", line).groups()
            names.setdefault(number, name)
        elif line.startswith("calls="):
            called = True
        elif cost := re.fullmatch(r"[+\-*\d]\d* (\d+)", line):
            if not called:
                costs[function] += int(cost[1])
            called = False
    return costs


def short(name: str) -> str:
    """Returns a function's name without crates, generics and the hash at its end."""
    name = re.sub(r"::h[0-9a-f]{16}$", "", name)
    if implementation := re.fullmatch(r"<(?:impl )?(.*) as (.*)>::(\w+)", name):
        name = f"{implementation[1]}::{implementation[3]}"
    before = None
    while before != name:
        before, name = name, re.sub(r"<[^<>]*>|\([^()]*\)", "", name)
    parts = [part for part in re.split("::", name.strip("<>")) if part and not part.startswith("{")]
    return "::".join(parts[-2:])


def of_row(row: str, keep: pathlib.Path) -> list[str]:
    """Measures a row; returns its lines of the output."""
    subprocess.run([program(), "instructions", row, "--rounds", "1", "--keep", keep],
                   check=True, stdout=subprocess.DEVNULL)
    few, many = sorted(keep.glob(f"{row}-soloio-*.callgrind"),
                       key=lambda path: int(path.stem.rsplit("-", 1)[1]))
    operations = int(many.stem.rsplit("-", 1)[1]) - int(few.stem.rsplit("-", 1)[1])
    costs = own_costs(many)
    costs.subtract(own_costs(few))
    each = collections.Counter()
    for name, cost in costs.items():
        each[short(name)] += cost / operations
    total = sum(each.values())
    large = [(name, cost) for name, cost in each.most_common() if cost >= LEAST * total]
    others = total - sum(cost for _, cost in large)
    lines = [f"{row:<52}{total:>9.0f}"]
    lines += [f"  {name:<50}{cost:>9.0f}" for name, cost in large]
    return [*lines, f"  {'others':<50}{others:>9.0f}"]


def main() -> None:
    arguments = sys.argv[1:]
    write = "--write" in arguments
    rows = [argument for argument in arguments if argument != "--write"] or ROWS
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for row in rows:
            lines += of_row(row, pathlib.Path(folder))
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if write:
        OUTPUT.write_text(text)


if __name__ == "__main__":
    main()
