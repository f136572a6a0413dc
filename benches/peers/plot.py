"""A plot of speed against recall, as SVG written by hand: nothing has to be installed for it."""

import math
from html import escape

from report import shown_variant, title

WIDTH, HEIGHT = 900, 560
LEFT, RIGHT, TOP, BOTTOM = 80, 200, 50, 60
# Told apart by people who do not see all colours, too; lodestore has the strongest.
COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#8c6d31", "#7f7f7f"]
OWN = ["#d00000", "#ff7f50", "#800020"]
MARKS = ["circle", "square", "diamond"]


def _recall_step(span: float) -> float:
    return next(step for step in (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2) if span / step <= 10 or step == 0.2)


def _mark(kind: str, x: float, y: float, colour: str) -> str:
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>'
    turn = f' transform="rotate(45 {x:.1f} {y:.1f})"' if kind == "diamond" else ""
    return f'<rect x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6" fill="{colour}"{turn}/>'


def _text(x: float, y: float, text: str, anchor: str = "middle", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, more: str = "") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{more}/>'


class _Axes:
    """Recall to the right, queries a second upwards, by their logarithm."""

    def __init__(self, recalls: list[float], speeds: list[float]):
        step = _recall_step(max(recalls) - min(recalls) or 0.01)
        self.ticks = [n * step for n in range(math.floor(min(recalls) / step), math.ceil(max(recalls) / step) + 1)]
        self.left, self.right = self.ticks[0], max(self.ticks[-1], self.ticks[0] + step)
        self.low, self.high = math.log10(min(speeds) / 1.2), math.log10(max(speeds) * 1.2)

    def x(self, recall: float) -> float:
        return LEFT + (recall - self.left) / (self.right - self.left) * (WIDTH - LEFT - RIGHT)

    def y(self, speed: float) -> float:
        return TOP + (self.high - math.log10(speed)) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)

    def draw(self) -> list[str]:
        parts = []
        for tick in self.ticks:
            parts.append(_line(self.x(tick), TOP, self.x(tick), HEIGHT - BOTTOM, "#e4e4e4"))
            parts.append(_text(self.x(tick), HEIGHT - BOTTOM + 18, f"{tick:.4g}"))
        for power in range(math.floor(self.low), math.ceil(self.high) + 1):
            for digit in range(1, 10):
                speed = digit * 10**power
                if not self.low <= math.log10(speed) <= self.high:
                    continue
                labelled = digit in (1, 2, 5)
                parts.append(_line(LEFT, self.y(speed), WIDTH - RIGHT, self.y(speed),
                                   "#d4d4d4" if labelled else "#f0f0f0"))
                if labelled:
                    parts.append(_text(LEFT - 8, self.y(speed) + 4, f"{speed:,.10g}", "end"))
        parts.append(f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT - TOP - BOTTOM}" '
                     'fill="none" stroke="#444"/>')
        return parts


def svg(result: dict) -> str:
    """One line a contender: its variant that is the fastest at the first recall asked for."""
    lines = {name: sorted(shown_variant(entry)["points"], key=lambda point: (point["recall"], -point["qps"]))
             for name, entry in result["contenders"].items()}
    lines = {name: points for name, points in lines.items() if points}
    everything = [point for points in lines.values() for point in points]
    axes = _Axes([point["recall"] for point in everything], [point["qps"] for point in everything])
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
             f'height="{HEIGHT}" font-family="sans-serif" font-size="12" fill="#222">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
             _text((LEFT + WIDTH - RIGHT) / 2, 28, title(result), more=' font-size="16"'), *axes.draw()]
    for target in result["recalls"]:
        if axes.left <= target <= axes.right:
            parts.append(_line(axes.x(target), TOP, axes.x(target), HEIGHT - BOTTOM, "#888",
                               ' stroke-dasharray="4 4"'))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 18, f"recall at {result['k']}", more=' font-size="14"'))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    upright = f' font-size="14" transform="rotate(-90 20 {middle})"'
    parts.append(_text(20, middle, "queries a second, one core", more=upright))
    own = others = 0
    for number, (name, points) in enumerate(lines.items()):
        if "limit" in result["contenders"][name]:
            colour, width, own = OWN[own % len(OWN)], 3, own + 1
        else:
            colour, width, others = COLOURS[others % len(COLOURS)], 1.8, others + 1
        mark = MARKS[number % len(MARKS)]
        path = " ".join(f"{axes.x(point['recall']):.1f},{axes.y(point['qps']):.1f}" for point in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}" '
                     'stroke-linejoin="round"/>')
        parts += [_mark(mark, axes.x(point["recall"]), axes.y(point["qps"]), colour) for point in points]
        x, y = WIDTH - RIGHT + 16, TOP + 14 + 22 * number
        parts.append(_line(x, y, x + 28, y, colour, f' stroke-width="{width}"'))
        parts.append(_mark(mark, x + 14, y, colour))
        batch = " (batch)" if result["contenders"][name]["batch"] else ""
        parts.append(_text(x + 36, y + 4, name + batch, "start"))
    return "\n".join([*parts, "</svg>", ""])
