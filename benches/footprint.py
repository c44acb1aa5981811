#!/usr/bin/env python3
"""What the library costs beside what it does: lines, crates, bytes, seconds of the compiler.

    python3 benches/footprint.py                 prints the tables of docs/cost.md
    python3 benches/footprint.py --write         puts them into docs/cost.md
    python3 benches/footprint.py --check         fails if a bound is broken, or docs/cost.md counts other
                                                 crates or has a ratio of bytes that is too good
    python3 benches/footprint.py --times 3       also clean builds, so many rounds of both sides
    python3 benches/footprint.py --modules       prints only where the bytes of the server and of the
                                                 small echo are, by module; --write puts it into
                                                 docs/cost.md

Lines, crates and bytes are exact for one compiler and one Cargo.lock; the bounds on bytes are ratios
to the same program on tokio, built in the same run. The seconds of a build depend on the machine,
and are never checked.
"""

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ROOT / "benches" / "footprint"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "footprint"
LAYERS = ["sys", "executor", "reactor", "runtime", "sync", "task", "threads", "stream", "tls", "net"]

# cargo's own release profile, stripped: what `cargo build --release` gives in a new project.
PLAIN = {"LTO": "false", "CODEGEN_UNITS": "16", "STRIP": "true", "OPT_LEVEL": "3", "PANIC": "unwind"}
THIN = PLAIN | {"LTO": "thin", "CODEGEN_UNITS": "1"}
SMALL = PLAIN | {"LTO": "fat", "CODEGEN_UNITS": "1", "OPT_LEVEL": "s", "PANIC": "abort"}

CORE = ["--no-default-features"]
TLS = ["--no-default-features", "--features", "tls"]


# --- lines -----------------------------------------------------------------------------------


TESTS = re.compile(r"\s*#\[(cfg\((all\()?test\b|test\])")
# Its inside is blanked out: the name is looked up in the text as it was.
FEATURE = re.compile(r"\s*#\[cfg\((all\(|any\()?feature = ")


def code_lines(text, features=None):
    """The numbers of the lines that hold code: no comments, no blanks, no tests; given features, no
    items that are behind another one."""
    whole, text = text.split("\n"), blank_out(text)
    lines = text.split("\n")
    skipped = set()
    for start, line in enumerate(lines):
        if start in skipped or not TESTS.match(line):
            if features is None or start in skipped or not FEATURE.match(line):
                continue
            named = set(re.findall(r'feature = "([\w-]+)"', whole[start]))
            if named & features if "cfg(any(" in line else named <= features:
                continue
        skipped.update(range(start, end_of_item(lines, start) + 1))
    return {number for number, line in enumerate(lines) if line.strip() and number not in skipped}


def blank_out(text):
    """Replaces comments by nothing and the insides of literals by spaces, keeping the lines."""
    out, at = [], 0
    literal = re.compile(r'b?r(#*)".*?"\1|b?"(?:\\.|[^"\\])*"|b?\'(?:\\.[^\']*|[^\\\'])\'', re.S)
    while at < len(text):
        if text.startswith("//", at):
            at = text.find("\n", at) if "\n" in text[at:] else len(text)
        elif text.startswith("/*", at):
            end, depth = at + 2, 1
            while depth and end < len(text):
                if text.startswith("/*", end):
                    depth, end = depth + 1, end + 2
                elif text.startswith("*/", end):
                    depth, end = depth - 1, end + 2
                else:
                    end += 1
            out.append("\n" * text.count("\n", at, end))
            at = end
        elif (found := literal.match(text, at)) and (at == 0 or not text[at - 1].isalnum()):
            out.append('"' + re.sub(r"[^\n]", "x", found.group()[1:-1]) + '"')
            at = found.end()
        else:
            out.append(text[at])
            at += 1
    return "".join(out)


def end_of_item(lines, start):
    """The last line of the item that the attribute in line `start` stands before."""
    depth = 0
    first = next((n for n in range(start, len(lines)) if not re.match(r"\s*(#\[|$)", lines[n])), start)
    # A field of a struct, in its type or in its making; a variant of an enum; an arm of a match.
    words = "pub|fn|impl|mod|use|struct|enum|trait|const|static|async|unsafe|macro_rules|type|let"
    item = re.match(rf"\s*({words})\b", lines[first])
    if re.match(r"\s*(pub(\(\w+\))? )?\w+: .*,$", lines[first]):
        return first
    for number in range(start, len(lines)):
        line = re.sub(r"^\s*#\[.*\]\s*$", "", lines[number]) if depth == 0 else lines[number]
        for mark in line:
            if mark in "{([":
                depth += 1
            elif mark in "})]":
                depth -= 1
                if depth == 0 and mark == "}":
                    return number
            elif mark == ";" and depth == 0:
                return number
        if depth == 0 and not item and number >= first and line.rstrip().endswith(","):
            return number
    return len(lines) - 1


def lines_by_layer():
    counts = {}
    for path in sorted((ROOT / "src").rglob("*.rs")):
        if path.name == "tests.rs":
            continue
        inside = path.relative_to(ROOT / "src")
        layer = inside.parts[0] if len(inside.parts) > 1 and inside.parts[0] in LAYERS else "top"
        counts[layer] = counts.get(layer, 0) + len(code_lines(path.read_text()))
    return counts


def compiled_lines(options):
    """Code lines of the files that rustc reads with these options, by its own list of them."""
    target = TARGET / "lines"
    cargo(["rustc", "--package", "soloio", "--lib", *options, "--", "--emit=dep-info"], ROOT, target)
    newest = max((target / "debug" / "deps").glob("soloio-*.d"), key=lambda p: p.stat().st_mtime)
    names = re.findall(r"^(\S*src/\S+\.rs):", newest.read_text(), re.M)
    features = set(options[-1].split(",")) if "--features" in options else set()
    return sum(len(code_lines((ROOT / name).read_text(), features)) for name in names)


# --- crates ----------------------------------------------------------------------------------


def crates(options):
    shown = run(["cargo", "tree", "--package", "soloio", "--edges", "normal,build", "--prefix", "none",
                 "--format", "{p}", *options], ROOT)
    return len({line.split()[0] for line in shown.splitlines() if line}) - 1


# --- bytes and seconds -----------------------------------------------------------------------


def run(command, folder, environment=None):
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"footprint: {' '.join(command)} failed:\n{done.stderr}")
    return done.stdout


def cargo(arguments, folder, target, profile=None):
    environment = dict(os.environ, CARGO_TARGET_DIR=str(target))
    for name, value in (profile or {}).items():
        environment[f"CARGO_PROFILE_RELEASE_{name}"] = value
    run(["cargo", *arguments], folder, environment)


def size(side, program, profile, options):
    target = TARGET / f"{side}-{profile['LTO']}-{profile['OPT_LEVEL']}"
    arguments = ["build", "--release", "--bin", program, *(options if side == "soloio" else options[1:])]
    cargo(arguments, PROGRAMS / side, target, profile)
    return (target / "release" / program).stat().st_size


def code_by_module(side, program, profile):
    """Bytes of machine code by module of the library, and those of all other code together. What is
    inlined counts for the function that it is inlined into."""
    target = TARGET / f"{side}-{profile['LTO']}-{profile['OPT_LEVEL']}-symbols"
    options = ["--release", "--bin", program, *(CORE if side == "soloio" else [])]
    cargo(["build", *options], PROGRAMS / side, target, profile | {"STRIP": "none"})
    counts = {}
    for line in run(["nm", "--print-size", "--demangle", target / "release" / program], ROOT).splitlines():
        symbol = re.match(r"\w+ (\w+) [tTwW] (.*)", line)
        if not symbol:
            continue
        # The module of a trait's method is that of the type; a drop's that of what is dropped.
        inside = re.search(rf"\b{side}::(\w+)(?:::([a-z_]\w*))?", symbol[2])
        module = "::".join(part for part in inside.groups() if part) if inside else ""
        counts[module] = counts.get(module, 0) + int(symbol[1], 16)
    return counts


def clean_build(side, options, mode):
    """CPU seconds of a clean build of the echo, downloads apart."""
    target = TARGET / "clean"
    shutil.rmtree(target, ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    flags = ["--release"] if mode == "release" else []
    cargo(["build", "--offline", *flags, "--bin", "echo", *options], PROGRAMS / side, target, PLAIN)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# --- the tables ------------------------------------------------------------------------------

# How many code lines there may be in all, and in the core.
LINES, CORE_LINES = 24_839, 14_863

# Program, what it is called, profile, options, and how large it may be, tokio being 1.
SIZES = [
    ("empty", "`block_on(async {})`, thin LTO", THIN, CORE, 0.957),
    ("echo", "echo, cargo's release profile", PLAIN, CORE, 1.113),
    ("echo", 'echo, fat LTO, `panic = "abort"`, `opt-level = "s"`', SMALL, CORE, 1.151),
    ("server", "the server above, with limits, thin LTO", THIN, CORE, 1.241),
    ("tls_client", "TLS client with rustls' configuration, thin LTO", THIN, TLS, 1.120),
]
# One program and a larger one: what each of two further ones of the same kind adds, and how many
# bytes that may be.
FURTHER = [
    ("one_server", "three_servers", "a further server, thin LTO", True, 8_040),
    ("one_group", "three_groups", "a further task group, thin LTO", False, 4_000),
]
CRATES = [[], CORE, ["--no-default-features", "--features", "aws-lc-rs"], ["--features", "anyhow"],
          ["--features", "futures-core,futures-io"], ["--features", "idna"], ["--features", "log"]]


def table(head, rows):
    return "\n".join(["| " + " | ".join(head) + " |", "|---" * len(head) + "|",
                      *("| " + " | ".join(row) + " |" for row in rows)])


def lines_table():
    layers = lines_by_layer()
    rows = [[name, f"{layers.get(name, 0):,}"] for name in [*LAYERS, "top"]]
    broken = []
    for name, lines, most in (
        ("all", sum(layers.values()), LINES),
        ("compiled with `--no-default-features`", compiled_lines(CORE), CORE_LINES),
    ):
        rows.append([name, f"{lines:,}"])
        if lines > most:
            broken.append(f"code lines, {name}: {lines:,}, at most {most:,}")
    return table(["code lines of `src`", "no comments, blanks, tests"], rows), broken


def sizes_table():
    rows, broken = [], []
    for program, title, profile, options, bound in SIZES:
        ours, theirs = (size(side, program, profile, options) for side in ("soloio", "tokio"))
        rows.append([title, f"{ours:,}", f"{theirs:,}", f"{ours / theirs:.2f}"])
        if ours > bound * theirs:
            broken.append(f"{title}: {ours / theirs:.3f} of tokio, at most {bound}")
    for one, three, title, both, most in FURTHER:
        grown = [(size(side, three, THIN, CORE) - size(side, one, THIN, CORE)) // 2
                 for side in ("soloio", "tokio")[: 1 + both]]
        rows.append([title, f"{grown[0]:,}", f"{grown[1]:,}" if both else "", ""])
        if grown[0] > most:
            broken.append(f"{title}: {grown[0]:,} bytes, at most {most:,}")
    return table(["stripped bytes", "soloio", "tokio", "ratio"], rows), broken


# Modules of soloio by what they do. What is in none of them is "the rest".
PARTS = [
    ("a loop: polls, wakes, timers, other threads", r"runtime(::(Runtime|inbox|wait|control|context|calls)|$)|reactor|executor::(waker|remote|wake_list|Executor)"),
    ("tasks and groups", r"task|executor"),
    ("scopes: cancels, limits, shields", r"runtime::(scope|scopes|scoped|sleep|silence)"),
    ("operations on sockets", r"runtime|room|net::(tcp|stream_socket)"),
    ("`close`, which waits for the acknowledgement", r"net::stream_close"),
    ("listeners for both families, names", r"net"),
    ("`serve`", r"stream|sync"),
    ("errors with their texts", r"error"),
    ("the program itself, inlined with what it calls", r"sys::beside"),
    ("the rest", r""),
]


def modules_table():
    """Where the bytes of code are. A module counts for the first part of the list that has it."""
    rows, columns = {}, [("server", THIN), ("echo", SMALL)]
    for program, profile in columns:
        ours, theirs = (code_by_module(side, program, profile) for side in ("soloio", "tokio"))
        foreign = ours.pop(""), theirs.pop("")
        parts = dict.fromkeys((title for title, _ in PARTS), 0)
        for module, size in ours.items():
            parts[next(title for title, those in PARTS if re.match(those, module))] += size
        rest = [("soloio in all", sum(ours.values())), ("tokio in all", sum(theirs.values())),
                ("std, other crates, the program, beside soloio", foreign[0]), ("the same beside tokio", foreign[1])]
        for title, size in [*parts.items(), *rest]:
            rows.setdefault(title, []).append(f"{size:,}")
    return table(["bytes of code", "server, thin LTO", "echo, fat LTO, `s`"],
                 [[title, *sizes] for title, sizes in rows.items()])


def crates_table():
    rows = [[f"`{' '.join(options)}`" if options else "default", str(crates(options))] for options in CRATES]
    return table(["cargo options", "crates besides soloio itself"], rows)


def times_table(rounds):
    rows = []
    for title, ours, mode in (
        ("release, `--no-default-features`", CORE, "release"),
        ("debug, `--no-default-features`", CORE, "debug"),
    ):
        seconds = {"soloio": [], "tokio": []}
        for number in range(rounds):
            for side in ("soloio", "tokio") if number % 2 == 0 else ("tokio", "soloio"):
                seconds[side].append(clean_build(side, ours if side == "soloio" else [], mode))
        least = {side: min(of) for side, of in seconds.items()}
        rows.append([title, f"{least['soloio']:.1f}", f"{least['tokio']:.1f}",
                     f"{least['soloio'] / least['tokio']:.2f}"])
    return table([f"clean build of the echo, CPU seconds, least of {rounds}", "soloio", "tokio", "ratio"], rows)


def is_stale(name, stated, made):
    """Whether docs/cost.md counts other crates, or states a better ratio of bytes than there is."""
    if name == "crates":
        return stated != f"{made}\n"
    ratios = [re.findall(r"\| (\d\.\d\d) \|$", text, re.M) for text in (stated, made)]
    pairs = zip(*ratios)
    return name == "sizes" and any(float(now) > float(then) + 0.015 for then, now in pairs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=0, metavar="ROUNDS")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--modules", action="store_true")
    chosen = parser.parse_args()
    if chosen.modules:
        broken, tables = [], {"modules": modules_table()}
    else:
        (sizes, broken), (lines, too_many) = sizes_table(), lines_table()
        broken += too_many
        tables = {"crates": crates_table(), "sizes": sizes, "lines": lines}
    if chosen.times:
        tables["times"] = times_table(chosen.times)
    cost = ROOT / "docs" / "cost.md"
    text = cost.read_text()
    for name, made in tables.items():
        print(f"{made}\n")
        begin, end = f"<!-- footprint: {name} -->\n", "\n<!-- end -->"
        before, marked, rest = text.partition(begin)
        stated, _, after = rest.partition(end[1:])
        if not marked:
            sys.exit(f"footprint: docs/cost.md has no place for the table of {name}")
        if is_stale(name, stated, made):
            broken.append(f"docs/cost.md: the table of {name} is not today's: run with --write")
        text = f"{before}{begin}{made}{end}{after}"
    if chosen.write:
        cost.write_text(text)
    if chosen.check and broken:
        sys.exit("\n".join(broken))


if __name__ == "__main__":
    main()
