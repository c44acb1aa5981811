#!/usr/bin/env python3
"""Draws the benchmark's table as an SVG: how much of tokio's cost each row takes.

    cargo run --release -p soloio-benches > docs/performance.txt
    python3 benches/plot.py docs/performance.txt docs/performance.svg

A row is a dot at its ratio and a line from the least to the greatest ratio of all rounds, on a
logarithmic scale; left of 1, soloio costs less. A row without a ratio gets its two values only.
"""

import html
import math
import re
import sys

# The end of a line: two values, tokio's runtime, ratio, its ends, what it may be, the verdict.
VALUES = re.compile(
    r"\s*(?P<soloio>[\d.]+)\s+(?P<tokio>[\d.]+)\s+(?P<better>local|current|itself)\s+"
    r"(?P<ratio>[\d.]+|-)\s+(?P<ends>[\d.]+\.\.[\d.]+|-)\s+.*(?:ok|MISS)$"
)
TITLE_COLUMNS, UNIT_COLUMNS = 32, 4  # as in benches/src/table.rs

WIDTH, ROW, TOP, BOTTOM = 820, 24, 56, 44
TITLES, LEFT, RIGHT = 12, 268, 620  # where titles begin, and the scale begins and ends
LEAST, MOST = 1 / 64, 4
BETTER, EQUAL, WORSE = "#0b7a75", "#5f6368", "#c2410c"
BAND = 0.04  # benches/README.md: differences below 4 % are none


def rows(text):
    """The rows of the table, in its order; other lines are left out."""
    for line in text.splitlines():
        title = line[:TITLE_COLUMNS]
        unit = line[TITLE_COLUMNS : TITLE_COLUMNS + 1 + UNIT_COLUMNS].strip()
        values = VALUES.match(line[TITLE_COLUMNS + 1 + UNIT_COLUMNS :])
        if values:
            yield title.rstrip(), unit, values


def at(ratio):
    """Where a ratio lies on the scale."""
    bounded = min(max(ratio, LEAST), MOST)
    return LEFT + (RIGHT - LEFT) * math.log(bounded / LEAST) / math.log(MOST / LEAST)


def text(x, y, words, **attributes):
    named = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<text x="{x:.0f}" y="{y:.0f}"{named}>{html.escape(words)}</text>'


def scale(height):
    """The vertical lines, with their ratios above."""
    ratio = LEAST
    while ratio <= MOST:
        x, one = at(ratio), ratio == 1
        color, width = ("#202124", 1.5) if one else ("#dadce0", 1)
        yield (
            f'<line x1="{x:.1f}" y1="{TOP - 10}" x2="{x:.1f}" y2="{height - BOTTOM}" '
            f'stroke="{color}" stroke-width="{width}"/>'
        )
        label = f"{ratio:g}" if ratio >= 1 else f"1/{1 / ratio:g}"
        yield text(x, TOP - 16, label, text_anchor="middle", fill="#5f6368")
        ratio *= 2


def drawn(y, title, unit, values):
    """One row: title, line and dot, the two values."""
    # What is compared with another way of soloio's own must not be taken for tokio's.
    named = title.strip() + (" (both soloio)" if values["better"] == "itself" else "")
    yield text(TITLES + (14 if title.startswith(" ") else 0), y + 4, named)
    told = f"{values['soloio']} : {values['tokio']} {unit}".rstrip()
    if values["ratio"] == "-":
        yield text(RIGHT + 14, y + 4, told, fill=EQUAL)
        return
    ratio = float(values["ratio"])
    least, most = (float(end) for end in values["ends"].split(".."))
    color = BETTER if ratio < 1 - BAND else WORSE if ratio > 1 + BAND else EQUAL
    yield (
        f'<line x1="{at(least):.1f}" y1="{y}" x2="{at(most):.1f}" y2="{y}" '
        f'stroke="{color}" stroke-width="3" stroke-opacity="0.4" stroke-linecap="round"/>'
    )
    yield f'<circle cx="{at(ratio):.1f}" cy="{y}" r="5" fill="{color}"/>'
    yield text(RIGHT + 14, y + 4, f"{ratio:.2f}", font_weight="bold", fill=color)
    yield text(RIGHT + 56, y + 4, told, fill="#5f6368")


def svg(table):
    """The whole picture; on white, so that it can be read in any theme."""
    height = TOP + ROW * len(table) + BOTTOM
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="13">'
    )
    yield "<title>soloio's cost as a part of tokio's, row by row</title>"
    yield f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>'
    yield text(RIGHT + 14, TOP - 16, "ratio", fill="#5f6368")
    yield text(RIGHT + 56, TOP - 16, "soloio : tokio", fill="#5f6368")
    yield from scale(height)
    for number, (title, unit, values) in enumerate(table):
        yield from drawn(TOP + ROW * number + ROW // 2, title, unit, values)
    below = height - BOTTOM + 26
    yield text(at(1) - 10, below, "\u2190 soloio costs less", text_anchor="end", fill=BETTER)
    yield text(at(1) + 10, below, "tokio costs less \u2192", fill=WORSE)
    yield "</svg>"


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: plot.py TABLE.txt PICTURE.svg")
    with open(sys.argv[1], encoding="utf-8") as file:
        table = list(rows(file.read()))
    if not table:
        sys.exit(f"plot.py: no row of the benchmark's table in {sys.argv[1]}")
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write("\n".join(svg(table)) + "\n")


if __name__ == "__main__":
    main()
