"""Draws docs/pipeline.svg: how a frame runs over four boards.

usage: docs/pipeline.py > docs/pipeline.svg
"""
COLUMNS = [("stem", "dense conv"), ("stage 1", "4 groups"), ("stage 2", "4 groups"),
           ("stage 3", "4 groups"), ("stage 4", "4 groups"), ("classifier", "by input")]
COLOURS = ["#4c72b0", "#dd8452", "#55a868", "#c44e52"]
LEFT, TOP, WIDTH, HEIGHT, GAP_X, GAP_Y = 104, 70, 84, 34, 44, 18


def x(column: int) -> int:
    return LEFT + column * (WIDTH + GAP_X)


def y(rank: int) -> int:
    return TOP + rank * (HEIGHT + GAP_Y)


def main() -> None:
    right = x(len(COLUMNS) - 1) + WIDTH
    height = y(3) + HEIGHT + 56
    print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{right + 100}" height="{height}" '
          f'viewBox="0 0 {right + 100} {height}" font-family="sans-serif" font-size="12">')
    print('<rect width="100%" height="100%" fill="white"/>')
    for c, (name, note) in enumerate(COLUMNS):
        middle = x(c) + WIDTH / 2
        print(f'<text x="{middle}" y="34" text-anchor="middle" font-weight="bold">{name}</text>')
        print(f'<text x="{middle}" y="50" text-anchor="middle" fill="#666">{note}</text>')
    for c in range(len(COLUMNS) - 1):
        shuffled = 1 <= c <= 3
        for a in range(4):
            for b in range(4):
                if a != b and not shuffled:
                    continue
                shade = COLOURS[a] if shuffled else "#999"
                print(f'<line x1="{x(c) + WIDTH}" y1="{y(a) + HEIGHT / 2}" x2="{x(c + 1)}" '
                      f'y2="{y(b) + HEIGHT / 2}" stroke="{shade}" stroke-width="1.4"/>')
        label = {1: "shuffle", 2: "shuffle", 3: "shuffle"}.get(c, "local")
        print(f'<text x="{x(c) + WIDTH + GAP_X / 2}" y="{y(3) + HEIGHT + 20}" '
              f'text-anchor="middle" fill="#666">{label}</text>')
        if shuffled:
            print(f'<text x="{x(c) + WIDTH + GAP_X / 2}" y="{y(3) + HEIGHT + 36}" '
                  f'text-anchor="middle" fill="#666">all-to-all</text>')
    middle = (y(0) + y(3) + HEIGHT) / 2
    for r in range(4):
        print(f'<line x1="46" y1="{middle}" x2="{x(0)}" y2="{y(r) + HEIGHT / 2}" stroke="#999"/>')
        print(f'<line x1="{right}" y1="{y(r) + HEIGHT / 2}" x2="{right + 44}" y2="{middle}" '
              f'stroke="#999"/>')
        for c in range(len(COLUMNS)):
            print(f'<rect x="{x(c)}" y="{y(r)}" width="{WIDTH}" height="{HEIGHT}" rx="4" '
                  f'fill="{COLOURS[r]}" fill-opacity="0.85"/>')
        print(f'<text x="{x(0) + WIDTH / 2}" y="{y(r) + HEIGHT / 2 + 4}" text-anchor="middle" '
              f'fill="white" font-weight="bold">board {r}</text>')
    print(f'<text x="6" y="{middle + 4}" font-weight="bold">frame</text>')
    print(f'<text x="{right + 48}" y="{middle + 4}" font-weight="bold">scores</text>')
    print(f'<text x="62" y="{y(3) + HEIGHT + 20}" text-anchor="middle" fill="#666">broadcast</text>')
    print(f'<text x="{right + 40}" y="{y(3) + HEIGHT + 20}" text-anchor="middle" '
          f'fill="#666">reduce</text>')
    print("</svg>")


main()
