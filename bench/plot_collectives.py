#!/usr/bin/python3
"""Puts measurements into docs/collectives.md and docs/collectives.svg.

    bench/plot_collectives.py --peers links100.json links940.json --verbs verbs.json

--peers takes what `bench/collectives_peers --json` wrote, a file a link, and --verbs what
`sbcnn-bench collectives --json` did. In collectives.md the text between `<!-- begin NAME -->` and
`<!-- end NAME -->` is replaced; the rest is written by hand. Needs python3-matplotlib.
"""
import argparse
import io
import json
import pathlib
import re
import statistics

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"
OURS, PLAIN, MPI = "sbcnn", "sbcnn plain", "openmpi"
SIDES = {OURS: ("sbcnn, encrypted", "#4c72b0", "o-"), PLAIN: ("sbcnn, plain", "#4c72b0", "o:"),
         MPI: ("Open MPI, its best", "#c44e52", "s-")}
VERB_SIZES = (1024, 65536, 1 << 20)


def best(rows: list, side: str, size: int) -> dict | None:
    mine = [r for r in rows if r["transport"] == side and r["bytes_per_pair"] == size]
    return min(mine, key=lambda r: r["p50_us"], default=None)


def sizes_of(rows: list) -> list:
    return sorted({r["bytes_per_pair"] for r in rows if r["collective"] == "alltoall"})


def stream_of(rows: list) -> float | None:
    return next((r["goodput_mbit"] for r in rows if r["collective"] == "stream"), None)


def table(head: list, rows: list) -> str:
    right = ["--:"] * len(head)
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in [head, right, *rows])


def paired(slow: dict | None, fast: dict | None) -> str:
    """How much longer the first takes: the median of the rounds' ratios, the lowest and the highest."""
    if not slow or not fast:
        return "–"
    ratios = sorted(s / f for s, f in zip(slow["rounds_us"], fast["rounds_us"]))
    return f"**{statistics.median(ratios):.2f}** ({ratios[0]:.2f} … {ratios[-1]:.2f})"


def microseconds(r: dict | None) -> str:
    return f"{r['p50_us']:,.0f}" if r else "–"


def mbit(r: dict | None) -> str:
    return f"{r['goodput_mbit']:,.1f}" if r else "–"


def alltoall(rows: list) -> str:
    limit, lines = stream_of(rows), []
    for size in sizes_of(rows):
        ours, plain, mpi = (best(rows, side, size) for side in SIDES)
        share = f"{ours['goodput_mbit'] / limit:.2f}" if limit and ours and size else "–"
        cpu = f"{ours['cpu_us']:,.0f} / {plain['cpu_us']:,.0f}" if ours and plain else "–"
        lines.append([f"{size:,}", microseconds(ours), microseconds(plain), microseconds(mpi), mbit(ours), share, mbit(mpi),
                      paired(mpi, ours), paired(mpi, plain), paired(plain, ours), cpu])
    stream = f"One stream of iperf3: {limit:.1f} Mbit/s. " if limit else ""
    rounds = max(len(r.get("rounds_us", [])) for r in rows)
    return (f"{stream}Medians of {rounds} rounds.\n\n"
            + table(["bytes per pair", "ours, µs", "plain, µs", "Open MPI, µs", "ours, Mbit/s", "of iperf3", "Open MPI, Mbit/s",
                     "Open MPI / ours", "Open MPI / plain", "plain / ours", "CPU, µs: ours / plain"], lines))


def verbs(rows: list) -> str:
    lines = []
    for verb, algorithm in dict.fromkeys((r["collective"], r["algorithm"]) for r in rows):
        mine = {r["bytes_per_pair"]: r for r in rows if (r["collective"], r["algorithm"]) == (verb, algorithm)}
        cells = [microseconds(mine.get(size)) for size in ((0,) if verb == "barrier" else VERB_SIZES)]
        lines.append([verb, algorithm, *cells, *[""] * (len(VERB_SIZES) - len(cells))])
    return table(["verb", "algorithm", *[f"{size:,} B, µs" for size in VERB_SIZES]], lines).replace(
        "| --: | --: |", "| --- | --- |", 1)


def plot(runs: dict) -> str:
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "sbcnn", "font.size": 9})
    figure, axes = pyplot.subplots(1, len(runs), figsize=(4.2 * len(runs), 3.4), squeeze=False)
    for axis, (link, rows) in zip(axes[0], runs.items()):
        for side, (label, colour, style) in SIDES.items():
            found = [r for r in (best(rows, side, s) for s in sizes_of(rows) if s > 0) if r]
            axis.plot([r["bytes_per_pair"] for r in found], [r["goodput_mbit"] for r in found], style, color=colour,
                      label=label, markersize=4)
        if limit := stream_of(rows):
            axis.axhline(limit, color="#555", linewidth=1, linestyle="--", label="iperf3, one stream")
        axis.set_xscale("log", base=2)
        axis.set_ylim(bottom=0)
        axis.set_title(f"links of {link:g} Mbit/s")
        axis.set_xlabel("bytes per pair")
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("goodput of a board, Mbit/s")
    axes[0][0].legend(fontsize=8)
    figure.tight_layout()
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def replace(text: str, name: str, content: str) -> str:
    pattern = rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)"
    if not re.search(pattern, text, re.S):
        raise SystemExit(f"collectives.md has no place for '{name}'")
    return re.sub(pattern, lambda m: m[1] + content + "\n" + m[2], text, flags=re.S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="*", default=[], metavar="FILE", type=pathlib.Path)
    parser.add_argument("--verbs", metavar="FILE", type=pathlib.Path)
    parser.add_argument("--docs", default=DOCS, type=pathlib.Path, help="the folder to write to")
    arguments = parser.parse_args()
    page = arguments.docs / "collectives.md"
    text = page.read_text()
    runs = {}
    for path in arguments.peers:
        rows = json.loads(path.read_text())["rows"]
        runs[rows[0]["link_mbit"]] = rows
        text = replace(text, f"links of {rows[0]['link_mbit']:g}", alltoall(rows))
    if arguments.verbs:
        text = replace(text, "verbs", verbs(json.loads(arguments.verbs.read_text())["rows"]))
    page.write_text(text)
    if runs:
        (arguments.docs / "collectives.svg").write_text(plot(runs))


if __name__ == "__main__":
    main()
