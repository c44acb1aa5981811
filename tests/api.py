#!/usr/bin/env python3
"""The public names of the crate with their signatures, in tests/api.txt: no change of them is unseen.

    cargo doc --no-deps --package soloio && python3 tests/api.py            fails if they have changed
    cargo doc --no-deps --package soloio && python3 tests/api.py --write    writes them anew

They are read from rustdoc's pages, which every stable compiler makes, with the default features: one
line for each item, with its members and traits below it. A line that is gone or different breaks
programs of others, once a version is published.
"""

import difflib
import html
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "tests" / "api.txt"
PAGES = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "doc" / "soloio"

# A declaration of an item; a member, or a trait that a type has; a name that is declared elsewhere.
ITEM = re.compile(r'<pre class="rust item-decl"><code>(.*?)</code></pre>', re.S)
MEMBER = re.compile(
    r'<section id="[^"]*" class="(?:method|tymethod|variant|associatedtype|associatedconstant|impl)">'
    r'.*?<h[34] class="code-header">(.*?)</h[34]>', re.S)
USED = re.compile(r'id="reexport\.[^"]*"><code>(.*?)</code>', re.S)
# Those that a compiler adds by itself, and that it may add to.
AUTOMATIC = re.compile(r"\b(Freeze|RefUnwindSafe|StructuralPartialEq|UnsafeUnpin|UnwindSafe)\b[^,]*? for ")


def text(page):
    page = re.sub(r'<details class="toggle type-contents-toggle"><summary.*?</summary>', "", page)
    plain = html.unescape(re.sub(r"<[^>]+>", "", page.replace("<div", " <div"))).replace("\u200b", "")
    return re.sub(r"\s+", " ", plain).strip()


def names():
    lines = []
    for page in sorted(re.findall(r'<li><a href="([^"]+)">', (PAGES / "all.html").read_text())):
        shown = (PAGES / page).read_text()
        path = re.sub(r"(\w+)\.(\w+)\.html$", r"\2", page).replace("/", "::")
        declared = [text(item) for item in ITEM.findall(shown)]
        lines += ["", f"soloio::{path}: {' '.join(declared)}"]
        # What every type has is below that, and whoever implements a trait.
        own = re.split(r'id="(?:blanket-implementations|foreign-impls|implementors)"', shown)[0]
        members = {text(member) for member in MEMBER.findall(own)}
        lines += sorted(f"    {member}" for member in members if not AUTOMATIC.search(member))
    for page in sorted(PAGES.rglob("index.html")):
        used = {text(name) for name in USED.findall(page.read_text())}
        lines += sorted(f"{page.parent.relative_to(PAGES.parent)}: {name}" for name in used)
    return lines[1:]


def main():
    now = names()
    if "--write" in sys.argv[1:]:
        LIST.write_text("\n".join(now) + "\n")
        return
    changed = list(difflib.unified_diff(LIST.read_text().splitlines(), now, "listed", "now", n=1, lineterm=""))
    if changed:
        print("\n".join(changed), "\nthe public names have changed: `python3 tests/api.py --write`, and the changelog")
        sys.exit(1)


main()
