#!/usr/bin/env python3
"""Puts measurements into docs/kernels.md and docs/kernels.svg.

    bench/plot_kernels.py --kernels avx512.json avx2.json --rivals rivals.json

Takes what `sbcnn-bench kernels --json` and `bench/rivals --json` wrote. In kernels.md the text
between `<!-- begin NAME -->` and `<!-- end NAME -->` is replaced; the rest is written by hand.
Nothing but Python is needed.
"""
import argparse
import json
import math
import pathlib
import re

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"
DETAILED = ("resnet34", "resnet50", "resnet34-slice4", "resnet50-slice4")  # layer by layer


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernels", nargs="*", default=[], metavar="FILE", type=pathlib.Path)
    parser.add_argument("--rivals", metavar="FILE", type=pathlib.Path)
    parser.add_argument("--docs", default=DOCS, type=pathlib.Path, help="the folder to write to")
    return parser.parse_args()


# --- tables ----------------------------------------------------------------------------------------

def table(head: list, rows: list) -> str:
    right = ["---" if i == 0 else "--:" for i in range(len(head))]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in [head, right, *rows])


def number(value, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def title(run: dict) -> str:
    threads = "one thread" if run["threads"] == 1 else f"{run['threads']} threads"
    clock = "" if run["time"] == "wall" else "; time that the thread ran"
    return (f"**{run['isa']}, {threads}** ({run['machine']}; median of {run['rounds']} rounds"
            f"{clock})")


def networks(runs: list) -> str:
    parts = []
    for run in runs:
        peers = list(run["networks"][0]["sides"])[1:]
        rows = []
        for n in run["networks"]:
            low, _, high = n["paired_ratio"] or [None] * 3
            rows.append([n["name"], number(n["ours_ms"])]
                        + [number(n["sides"][p]["ms"]) for p in peers]
                        + [f"**{number(n['ratio'])}**", f"{number(low)} … {number(high)}"])
        for f in run["families"]:
            rows.append([f"*{f['name']}*", number(f["ours_ms"])] + [""] * len(peers)
                        + [f"**{number(f['ratio'])}**", ""])
        head = ["network", "sbcnn, ms", *[f"{p}, ms" for p in peers], "best peer / ours",
                "quartiles of rounds"]
        missing = "".join(f"\n\nMissing: {m}." for m in run["peers_missing"])
        parts.append(f"{title(run)}\n\n{table(head, rows)}{missing}")
    return "\n\n".join(parts)


def layer_rows(layers: list) -> list:
    return [[f"{l['layer']} ×{l['count']}", l["algorithm"], number(l["ours_gflops"], 0),
             f"{l['best_peer']} {l['best_peer_algorithm']}" if l["best_peer"] else "–",
             number(l["best_peer_gflops"], 0),
             number(l["ratio"])] for l in layers]


LAYER_HEAD = ["layer", "with", "GFLOP/s", "best peer", "its GFLOP/s", "ratio"]


def layers(runs: list) -> str:
    parts = []
    for run in runs:
        for network in DETAILED:
            found = [l for l in run["layers"] if l["network"] == network]
            if found:
                parts.append(f"<details><summary>{network}, {run['isa']}, {run['threads']} "
                             f"thread(s)</summary>\n\n{table(LAYER_HEAD, layer_rows(found))}"
                             "\n\n</details>")
    return "\n\n".join(parts)


def slower(runs: list) -> str:
    """Layers that some peer computes faster, those first that cost most."""
    parts = []
    for run in runs:
        behind = [l for l in run["layers"] if l["ratio"] is not None and l["ratio"] < 1]
        behind.sort(key=lambda l: l["ours_ms"] * (1 - l["ratio"]), reverse=True)
        rows = [[l["network"], *row] for l, row in zip(behind, layer_rows(behind))]
        parts.append(f"{title(run)}: {len(behind)} of {len(run['layers'])}\n\n"
                     f"{table(['network', *LAYER_HEAD], rows[:20])}")
    return "\n\n".join(parts)


def rivals(report: dict) -> str:
    rows = [[n["name"], n["threads"], number(n["sbcnn_ms"]), r["name"], number(r["ms"]),
             f"**{number(r['ratio']['median'])}**",
             " … ".join(number(q) for q in r["ratio"]["quartiles"]), r["best_form"]]
            for n in report["networks"] for r in n["rivals"]]
    text = table(["network", "threads", "sbcnn, ms", "rival", "its ms", "ratio", "quartiles of turns",
                  "its fastest form"], rows)
    for s in report["scaling"]:
        text += (f"\n\nsbcnn on {s['threads']} threads computes {s['name']} "
                 f"{number(s['speedup']['median'])} times as fast as on one.")
    return text + "".join(f"\n\nMissing: {m}." for m in report["rivals_missing"])


def insert(text: str, name: str, content: str) -> str:
    pattern = re.compile(f"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.S)
    if not pattern.search(text):
        raise SystemExit(f"kernels.md has no markers for {name}")
    return pattern.sub(lambda m: f"{m[1]}\n{content}\n\n{m[2]}", text)


# --- the roofline ----------------------------------------------------------------------------------

OURS, PEER, ROOF = "#c44e52", "#4c72b0", "#555"
WIDTH, HEIGHT, LEFT, TOP, GAP, BOTTOM = 460, 360, 60, 76, 70, 50


class Panel:
    """One run on logarithmic axes: operations per byte, GFLOP/s."""

    def __init__(self, run: dict, left: float, x_range: tuple, y_range: tuple) -> None:
        self.run, self.left, self.x_range, self.y_range = run, left, x_range, y_range

    def x(self, value: float) -> float:
        low, high = map(math.log, self.x_range)
        return self.left + (math.log(value) - low) / (high - low) * WIDTH

    def y(self, value: float) -> float:
        low, high = map(math.log, self.y_range)
        return TOP + HEIGHT - (math.log(value) - low) / (high - low) * HEIGHT

    def axes(self) -> list:
        out = [f'<rect x="{self.left}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" '
               'stroke="#bbb"/>']
        for value in ticks(*self.x_range):
            out.append(f'<text x="{self.x(value):.1f}" y="{TOP + HEIGHT + 16}" '
                       f'text-anchor="middle">{value:g}</text>')
        for value in ticks(*self.y_range):
            out.append(f'<line x1="{self.left}" x2="{self.left + WIDTH}" y1="{self.y(value):.1f}" '
                       f'y2="{self.y(value):.1f}" stroke="#eee"/>'
                       f'<text x="{self.left - 6}" y="{self.y(value) + 4:.1f}" '
                       f'text-anchor="end">{value:g}</text>')
        middle = self.left + WIDTH / 2
        threads = f"{self.run['threads']} thread{'s' if self.run['threads'] > 1 else ''}"
        out.append(f'<text x="{middle}" y="{TOP - 26}" text-anchor="middle" font-weight="bold">'
                   f'{self.run["isa"]}, {threads}: effective GFLOP/s</text>'
                   f'<text x="{middle}" y="{TOP - 10}" text-anchor="middle" fill="{ROOF}">'
                   f'roof as measured: {self.run["peak_gflops"]:.0f} GFLOP/s, '
                   f'{self.run["read_gbytes_per_second"]:.1f} GB/s</text>'
                   f'<text x="{middle}" y="{TOP + HEIGHT + 36}" text-anchor="middle">operations '
                   'per byte of weights, input and output</text>')
        return out

    def roof(self) -> list:
        peak, rate = self.run["peak_gflops"], self.run["read_gbytes_per_second"]
        low, high = self.x_range
        corners = [(x, min(peak, x * rate)) for x in (low, min(max(peak / rate, low), high), high)]
        points = " ".join(f"{self.x(x):.1f},{self.y(max(y, self.y_range[0])):.1f}"
                          for x, y in corners)
        return [f'<polyline points="{points}" fill="none" stroke="{ROOF}" stroke-width="1.6"/>']

    def marks(self) -> list:
        out = []
        for layer in self.run["layers"]:
            x = self.x(intensity(layer))
            ours, peer = layer["ours_gflops"], layer["best_peer_gflops"]
            what = f'{layer["network"]}: {layer["layer"]}, {layer["algorithm"]}'
            if peer is not None:
                out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{self.y(ours):.1f}" '
                           f'y2="{self.y(peer):.1f}" stroke="#ccc"/>'
                           f'<circle cx="{x:.1f}" cy="{self.y(peer):.1f}" r="3" fill="white" '
                           f'stroke="{PEER}"><title>{what}; {layer["best_peer"]} '
                           f'{peer:.0f}</title></circle>')
            out.append(f'<circle cx="{x:.1f}" cy="{self.y(ours):.1f}" r="3" fill="{OURS}" '
                       f'fill-opacity="0.8"><title>{what} {ours:.0f}</title></circle>')
        return out


def intensity(layer: dict) -> float:
    return layer["gflop"] / layer["mbytes"] * 1e3


def ticks(low: float, high: float) -> list:
    candidates = [m * 10 ** e for e in range(-1, 5) for m in (1, 2, 5)]
    return [c for c in candidates if low <= c <= high]


def plot(runs: list) -> str:
    all_layers = [l for run in runs for l in run["layers"]]
    x = [intensity(l) for l in all_layers]
    y = [l[key] for l in all_layers for key in ("ours_gflops", "best_peer_gflops")
         if l[key] is not None] + [run["peak_gflops"] for run in runs]
    x_range, y_range = (min(x) / 1.2, max(x) * 1.2), (min(y) / 1.2, max(y) * 1.2)
    width = LEFT + len(runs) * (WIDTH + GAP) - GAP + 20
    height = TOP + HEIGHT + BOTTOM
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
           f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
           '<rect width="100%" height="100%" fill="white"/>',
           f'<circle cx="{LEFT + 6}" cy="18" r="4" fill="{OURS}"/>'
           f'<text x="{LEFT + 16}" y="22">sbcnn</text>'
           f'<circle cx="{LEFT + 76}" cy="18" r="4" fill="white" stroke="{PEER}"/>'
           f'<text x="{LEFT + 86}" y="22">the best peer for the layer</text>'
           f'<line x1="{LEFT + 260}" x2="{LEFT + 284}" y1="18" y2="18" stroke="{ROOF}" '
           f'stroke-width="1.6"/><text x="{LEFT + 290}" y="22">roofline, data read from memory</text>']
    for i, run in enumerate(runs):
        panel = Panel(run, LEFT + i * (WIDTH + GAP), x_range, y_range)
        out += panel.axes() + panel.roof() + panel.marks()
    return "\n".join([*out, "</svg>"]) + "\n"


def main() -> None:
    arguments = parse_arguments()
    runs = [json.loads(path.read_text()) for path in arguments.kernels]
    page = arguments.docs / "kernels.md"
    text = page.read_text(encoding="utf-8")
    if runs:
        for name, content in (("networks", networks), ("layers", layers), ("slower", slower)):
            text = insert(text, name, content(runs))
        (arguments.docs / "kernels.svg").write_text(plot(runs), encoding="utf-8")
    if arguments.rivals:
        text = insert(text, "rivals", rivals(json.loads(arguments.rivals.read_text())))
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
