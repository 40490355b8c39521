"""SVG drawings written by hand: readable at the width of a README, units on every axis, values
beside the bars so that nobody has to measure with a ruler, colours that work for the colour-blind
and on a dark page."""

from statistics import median
from xml.sax.saxutils import escape

FONT = "font-family=\"system-ui, 'DejaVu Sans', sans-serif\""
INK, FAINT, PAPER = "#1f2933", "#cbd2d9", "#ffffff"
COLOURS = {"fanwire": "#0b6e99", "floor": "#9aa5b1", "peer": "#e0a458"}
LINES = {
    "tungstenite": "#0b6e99",
    "fastwebsockets": "#c8553d",
    "tokio-websockets": "#588157",
    "sockudo-ws": "#8e5ea2",
}


def text(x, y, value, size=13, anchor="start", weight="normal", colour=INK, rotate=None):
    turned = f' transform="rotate({rotate} {x:.1f} {y:.1f})"' if rotate is not None else ""
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
            f'font-weight="{weight}" fill="{colour}"{turned}>{escape(value)}</text>')


def line(x1, y1, x2, y2, colour=FAINT, width=1, dash=None):
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
            f'stroke-width="{width}"{dashes}/>')


def page(width, height, parts):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" {FONT}>\n'
            f'<rect width="{width}" height="{height}" fill="{PAPER}"/>\n'
            + "\n".join(parts) + "\n</svg>\n")


BAR, STEP, PANEL, GAP, TOP = 16, 28, 250, 36, 100
# A bar so many times as long as the middle one is cut, or nothing could be read off the others.
CUT_TIMES = 6


def bars(title, subtitle, rows, panels):
    """Horizontal bars, one panel per metric, rows shared.

    rows: (name, kind); panels: (heading, hint, format, {name: Summary, or None where a run that
    succeeded has no such figure}). A row whose name is not in there is missing. The whisker is
    the range over the rounds. A bar with two white strokes is cut; its value is beside it."""
    # As wide as the longest name; about 7.4 units per character at this size.
    labels = 40 + 7.4 * max(len(name) for name, _ in rows)
    height = TOP + STEP * len(rows) + 30
    # At least as wide as the title, about 10.5 units per character.
    width = round(max(labels + (PANEL + GAP) * len(panels) + 20, 40 + 10.5 * len(title)))
    parts = [text(20, 30, title, 18, weight="bold"), text(20, 52, subtitle, 12, colour="#52606d")]
    for index, (name, kind) in enumerate(rows):
        y = TOP + STEP * index + BAR - 3
        weight = "bold" if kind == "fanwire" else "normal"
        parts.append(text(labels - 12, y, name, 13, "end", weight))
    for number, (heading, hint, show, values) in enumerate(panels):
        left = labels + (PANEL + GAP) * number
        parts.append(text(left, TOP - 26, heading, 13, weight="bold"))
        parts.append(text(left, TOP - 11, hint, 11, colour="#52606d"))
        parts += panel(left, rows, show, values)
    return page(width, height, parts)


def panel(left, rows, show, values):
    known = [value for value in values.values() if value is not None]
    largest = max((value.high for value in known), default=1) or 1
    middle_one = median(value.median for value in known) if known else 0
    if middle_one > 0:
        largest = min(largest, CUT_TIMES * middle_one)
    # Room on the right for the value itself.
    room = PANEL - 76

    def place(value):
        return left + min(room, value * room / largest)

    parts = [line(left, TOP - 4, left, TOP + STEP * len(rows) - 8, INK, 1)]
    for index, (name, kind) in enumerate(rows):
        y = TOP + STEP * index
        if name not in values:
            parts.append(text(left + 6, y + BAR - 3, "missing", 12, colour="#a61b1b"))
            continue
        value = values[name]
        if value is None:
            parts.append(text(left + 6, y + BAR - 3, "–", 12))
            continue
        end = max(left + 1, place(value.median))
        parts.append(f'<rect x="{left:.1f}" y="{y}" width="{end - left:.1f}" height="{BAR}" rx="2" '
                     f'fill="{COLOURS[kind]}"/>')
        middle = y + BAR / 2
        low, high = place(value.low), place(value.high)
        parts.append(line(low, middle, high, middle, INK, 1.5))
        parts += [line(x, middle - 4, x, middle + 4, INK, 1.5) for x in (low, high)]
        if value.median > largest:
            parts += [line(x, y - 2, x - 8, y + BAR + 2, PAPER, 4) for x in (end - 8, end - 16)]
        parts.append(text(max(end, high) + 6, y + BAR - 3, show(value.median), 12))
    return parts


def curves(title, subtitle, charts, sizes, bound):
    """Small multiples: ratio over payload size, one curve per peer, logarithmic both ways.

    charts: (heading, {peer: [Summary or None per size]}). Above 1 means that fanwire is faster;
    the dashed line is the bound of the scoreboard."""
    columns, chart_width, chart_height = 3, 330, 250
    rows = -(-len(charts) // columns)
    width, height = columns * chart_width + 20, 96 + rows * chart_height
    parts = [text(20, 30, title, 18, weight="bold"), text(20, 52, subtitle, 12, colour="#52606d")]
    x = 20
    for name, colour in LINES.items():
        parts.append(line(x, 72, x + 24, 72, colour, 3))
        parts.append(text(x + 30, 76, name, 13))
        x += 52 + 8 * len(name)
    parts += [line(x, 72, x + 24, 72, INK, 1, "4 3"), text(x + 30, 76, f"{bound:g} ×", 13)]
    for number, (heading, peers) in enumerate(charts):
        left = 20 + (number % columns) * chart_width
        top = 96 + (number // columns) * chart_height
        parts += chart(left, top, chart_width - 24, chart_height - 40, heading, peers, sizes, bound)
    return page(width, height, parts)


def chart(left, top, width, height, heading, peers, sizes, bound):
    import math

    values = [value.median for series in peers.values() for value in series if value is not None]
    lowest = min([0.8, *values]) * 0.93
    highest = max([2.0, *values]) * 1.07
    inner_left, inner_top = left + 44, top + 26
    inner_width, inner_height = width - 50, height - 50

    def place_x(index):
        return inner_left + inner_width * index / max(1, len(sizes) - 1)

    def place_y(value):
        span = math.log(highest) - math.log(lowest)
        return inner_top + inner_height * (math.log(highest) - math.log(value)) / span

    parts = [text(left + 4, top + 14, heading, 13, weight="bold")]
    ticks = [tick for tick in (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)
             if lowest <= tick <= highest]
    for tick in ticks:
        y = place_y(tick)
        parts.append(line(inner_left, y, inner_left + inner_width, y,
                          INK if tick == 1 else FAINT, 1.2 if tick == 1 else 1))
        parts.append(text(inner_left - 6, y + 4, f"{tick:g} ×", 11, "end"))
    y = place_y(bound)
    # The bound is one for small messages.
    small = max(index for index, size in enumerate(sizes) if size <= 1024)
    parts.append(line(inner_left, y, place_x(small), y, INK, 1, "4 3"))
    for index, size in enumerate(sizes):
        label = f"{size} B" if size < 1024 else f"{size // 1024} KiB"
        parts.append(text(place_x(index), inner_top + inner_height + 16, label, 10, "middle"))
    for name, series in peers.items():
        points = [(place_x(index), place_y(value.median))
                  for index, value in enumerate(series) if value is not None]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        colour = LINES.get(name, INK)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" '
                     f'stroke-width="2.5" stroke-linejoin="round"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
    return parts
