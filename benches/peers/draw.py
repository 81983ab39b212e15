"""The plots: what each engine keeps of a series of weeks; how long each takes for each step."""

from html import escape

WIDTH, LEFT, RIGHT, BAR, GAP, TOP, FOOT = 800, 130, 170, 22, 14, 90, 46

STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #24292f }
  .value { paint-order: stroke; stroke: #ffffff; stroke-width: 5px } .title { font-size: 16px; font-weight: 600 } .small { font-size: 12px; fill: #57606a }
  .grid { stroke: #d0d7de; stroke-width: 1 } .axis { stroke: #57606a; stroke-width: 1 }
  .ours { fill: #0969da } .other { fill: #8c959f } .name.own { font-weight: 600 }
  .back { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .small { fill: #9198a1 } .grid { stroke: #30363d } .axis { stroke: #9198a1 }
    .ours { fill: #4493f8 } .other { fill: #7d8590 } .back { fill: #0d1117 } .value { stroke: #0d1117 }
  }
"""


def step(most):
    """A round distance between lines of the grid, some five of them."""
    unit = 1.0
    while unit * 10 < most:
        unit *= 10
    return next(unit * times for times in (0.2, 0.5, 1, 2, 5) if unit * times * 6 >= most)


def weeks(result):
    rows = sorted(result["rows"], key=lambda row: sum(row["bytes"]))
    raw = sum(result["weeks"])
    most = max(raw, *(sum(row["bytes"]) for row in rows)) / 1e6
    room = WIDTH - LEFT - RIGHT
    height = TOP + len(rows) * (BAR + GAP) + FOOT
    bottom = height - FOOT + 4
    at = lambda megabytes: LEFT + megabytes / most * room
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
           f'role="img" aria-label="{escape(result["title"])}">', f"<style>{STYLE}</style>",
           f'<rect class="back" width="{WIDTH}" height="{height}"/>',
           f'<text class="title" x="16" y="28">{len(result["weeks"])} weekly checkpoints: {escape(result["title"])}</text>',
           '<text class="small" x="16" y="48">What is kept after the last week; each stretch is a week. '
           'At the right: all, and a further week as a share of its file.</text>']
    values = []
    tick, distance = 0.0, step(most)
    while tick <= most * 1.0001:
        out.append(f'<line class="grid" x1="{at(tick):.1f}" y1="{TOP - 8}" x2="{at(tick):.1f}" y2="{bottom}"/>')
        out.append(f'<text class="small" x="{at(tick):.1f}" y="{bottom + 18}" text-anchor="middle">{tick:g} MB</text>')
        tick += distance
    for number, row in enumerate(rows):
        y = TOP + number * (BAR + GAP)
        own = row["engine"].startswith("ballast")
        middle = y + BAR / 2 + 4.5
        out.append(f'<text class="name{" own" if own else ""}" x="{LEFT - 10}" y="{middle}" text-anchor="end">'
                   f'{escape(row["engine"])}</text>')
        x = 0.0
        for week, stored in enumerate(row["bytes"]):
            shade = 1.0 - 0.55 * week / max(1, len(row["bytes"]) - 1)
            width = max(0.0, at(x + stored / 1e6) - at(x) - 1.5)
            out.append(f'<rect class="{"ours" if own else "other"}" opacity="{shade:.2f}" x="{at(x):.1f}" y="{y}" '
                       f'width="{width:.1f}" height="{BAR}"><title>week {week}: {stored / 1e6:.2f} MB</title></rect>')
            x += stored / 1e6
        share = sum(s / w for s, w in zip(row["bytes"][1:], result["weeks"][1:])) / (len(result["weeks"]) - 1)
        values.append(f'<text class="value" x="{at(x) + 8:.1f}" y="{middle}">{x:.1f} MB · {share:.3f}</text>')
    out.append(f'<line class="axis" x1="{LEFT}" y1="{TOP - 8}" x2="{LEFT}" y2="{bottom}"/>')
    out.append(f'<line class="axis" stroke-dasharray="4 3" x1="{at(raw / 1e6):.1f}" y1="{TOP - 8}" '
               f'x2="{at(raw / 1e6):.1f}" y2="{bottom}"/>')
    out.append(f'<text class="small" x="{at(raw / 1e6):.1f}" y="{TOP - 12}" text-anchor="middle">the files themselves</text>')
    out += [*values, "</svg>\n"]
    return "\n".join(out)


def peers(result):
    """Seconds of each step, a group of bars a step, a bar an engine; each step to its own scale."""
    names = list(result["opening"])
    bar, gap = 15, 26
    steps = result["steps"]
    height = 76 + sum(8 + len(step["engines"]) * bar + gap for step in steps)
    left, room = LEFT + 20, WIDTH - LEFT - 20 - RIGHT
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
           f'role="img" aria-label="{escape(result["title"])}">', f"<style>{STYLE}</style>",
           f'<rect class="back" width="{WIDTH}" height="{height}"/>',
           f'<text class="title" x="16" y="28">{escape(result["title"][0].upper() + result["title"][1:])}, '
           f'{result["bytes"] / 1e6:,.0f} MB</text>',
           '<text class="small" x="16" y="48">Seconds, beyond opening the store. Each step has its own scale; '
           'at the right, how often Ballast\'s time.</text>']
    y = 76
    for step in steps:
        out.append(f'<text x="16" y="{y}" font-weight="600">{escape(step["step"])}</text>')
        y += 8
        cells = [(name, step["engines"][name]) for name in names if name in step["engines"]]
        most = max(cell["beyond"] for _, cell in cells) or 1.0
        ours = next((cell["beyond"] for name, cell in cells if name.startswith("ballast")), 0.0)
        for name, cell in cells:
            own = name.startswith("ballast")
            width = max(1.0, cell["beyond"] / most * room)
            times = f' · {cell["beyond"] / ours:.1f}×' if ours > 0.005 and not own else ""
            out.append(f'<text class="small" x="{left - 8}" y="{y + bar - 3.5}" text-anchor="end">{escape(name)}</text>')
            out.append(f'<rect class="{"ours" if own else "other"}" x="{left}" y="{y + 1}" width="{width:.1f}" height="{bar - 3}"/>')
            out.append(f'<text class="small" x="{left + width + 6:.1f}" y="{y + bar - 3.5}">{cell["beyond"]:.2f}{times}</text>')
            y += bar
        y += gap
    return "\n".join([*out, "</svg>\n"])
