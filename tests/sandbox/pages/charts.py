"""Charts as inline SVG: no scripts, colours by the style sheet, and a sentence for those who cannot see them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.sandbox.core.clock import iso
from tests.sandbox.pages.layout import Html, day, html, money, object_path, scrolling

WIDTH, HEIGHT = 760, 190
LEFT, RIGHT, TOP, BOTTOM = 96, 30, 14, 24
LANE_HEIGHT = 26
MONTHS_SHOWN = 24


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a lane; `kind` is its colour, `title` what one reads when pointing at it."""

    start: int
    end: int
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment of a lane that leads to an object."""

    moment: int
    kind: str
    title: str
    object_id: str


@dataclass(frozen=True, slots=True)
class Lane:
    name: str
    spans: Sequence[Span] = ()
    marks: Sequence[Mark] = ()


def balance_chart(points: Sequence[tuple[int, int]], *, now: int, currency: str) -> Html:
    """Steps of a balance: (moment, minor units after it), oldest first; it holds until `now`."""
    values = [0, *(value for _, value in points)]
    low, high = min(values), max(values)
    start, end = points[0][0], max(now, points[-1][0] + 1)
    scale = _Scale(start, end, low, high)
    path = [f"M{scale.x(start)} {scale.y(0)}"]
    for at, value in points:
        path.append(f"H{scale.x(at)}V{scale.y(value)}")
    path.append(f"H{scale.x(end)}")
    dots = "".join(
        f'<circle cx="{scale.x(at)}" cy="{scale.y(value)}" r="3">'
        f"<title>{day(at)}: {money(value, currency)}</title></circle>"
        for at, value in points
    )
    said = f"Balance from {money(points[0][1], currency)} on {day(start)} to {money(points[-1][1], currency)} today."
    inner = (
        f'{scale.grid(currency)}<path class="line" d="{"".join(path)}"/><g class="dots">{dots}</g>{_ends(start, end)}'
    )
    return _svg(inner, HEIGHT, said)


def month_chart(months: Sequence[tuple[str, int, int]], *, currency: str) -> Html:
    """Two bars a month: (month, invoiced, paid) in minor units."""
    months = months[-MONTHS_SHOWN:]
    low, high = (
        min(0, *(min(first, second) for _, first, second in months)),
        max(1, *(max(first, second) for _, first, second in months)),
    )
    scale = _Scale(0, len(months), low, high)
    width = min(22, round(0.36 * (WIDTH - LEFT - RIGHT) / len(months)))
    bars = []
    for place, (month, invoiced, paid) in enumerate(months):
        middle = (scale.x(place) + scale.x(place + 1)) // 2
        for kind, value, at in (("invoiced", invoiced, middle - width), ("paid", paid, middle)):
            top, bottom = sorted((scale.y(value), scale.y(0)))
            bars.append(
                f'<rect class="{kind}" x="{at}" y="{top}" width="{width - 1}" height="{bottom - top}" rx="2">'
                f"<title>{month} {kind}: {money(value, currency)}</title></rect>"
            )
        if place % max(1, len(months) // 8) == 0:
            bars.append(f'<text class="tick" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{month}</text>')
    invoiced, paid = sum(month[1] for month in months), sum(month[2] for month in months)
    said = f"Invoiced {money(invoiced, currency)}, paid {money(paid, currency)} in {len(months)} months."
    legend = '<p class="legend"><span class="key invoiced"></span>invoiced <span class="key paid"></span>paid</p>'
    return Html(f"{legend}{_svg(scale.grid(currency) + ''.join(bars), HEIGHT, said)}")


def lanes_chart(lanes: Sequence[Lane], *, start: int, end: int, now: int) -> Html:
    """Lanes over one time axis, with a line at `now`."""
    height = TOP + LANE_HEIGHT * len(lanes) + BOTTOM
    scale = _Scale(start, max(end, start + 1), 0, 1)
    parts = []
    for place, lane in enumerate(lanes):
        top = TOP + place * LANE_HEIGHT
        parts.append(f'<text class="tick" x="{LEFT - 10}" y="{top + 15}" text-anchor="end">{html(lane.name)}</text>')
        for span in lane.spans:
            left = scale.x(max(span.start, start))
            width = max(2, scale.x(min(span.end, end)) - left - 1)
            parts.append(
                f'<rect class="{span.kind}" x="{left}" y="{top + 3}" width="{width}" rx="3" '
                f'height="{LANE_HEIGHT - 10}">'
                f"<title>{html(span.title)}</title></rect>"
            )
        parts.extend(
            f'<a href="{html(object_path(mark.object_id))}"><circle class="{mark.kind}" r="6" '
            f'cx="{scale.x(mark.moment)}" cy="{top + 11}"><title>{html(mark.title)}</title></circle></a>'
            for mark in lane.marks
        )
    if start <= now <= end:
        parts.append(f'<path class="now" d="M{scale.x(now)} {TOP - 6}V{height - BOTTOM}"><title>now</title></path>')
    said = f"{', '.join(lane.name for lane in lanes)} from {day(start)} to {day(end)}."
    return _svg(_months(scale, start, end, height) + "".join(parts), height, said)


class _Scale:
    """Whole coordinates of moments and values; a value's own unit is of no matter."""

    def __init__(self, start: int, end: int, low: int, high: int) -> None:
        self._start, self._span = start, max(1, end - start)
        self._low, self._rise = low, max(1, high - low)

    def x(self, moment: int) -> int:
        return LEFT + (moment - self._start) * (WIDTH - LEFT - RIGHT) // self._span

    def y(self, value: int) -> int:
        return HEIGHT - BOTTOM - (value - self._low) * (HEIGHT - TOP - BOTTOM) // self._rise

    def grid(self, currency: str) -> str:
        """Lines at the lowest and highest value and at zero, with their money."""
        values = sorted({self._low, 0, self._low + self._rise})
        return "".join(
            f'<path class="grid" d="M{LEFT} {self.y(value)}H{WIDTH - RIGHT}"/>'
            f'<text class="tick" x="{LEFT - 8}" y="{self.y(value) + 4}" text-anchor="end">'
            f"{money(value, currency)}</text>"
            for value in values
        )


def _months(scale: _Scale, start: int, end: int, height: int) -> str:
    """Ticks at the first of each month, thinned out; the ends themselves when that gives too few."""
    first = datetime.fromtimestamp(start, UTC)
    count = (
        (datetime.fromtimestamp(end, UTC).year - first.year) * 12 + datetime.fromtimestamp(end, UTC).month - first.month
    )
    if count < 2:
        return _ends(start, end, height)
    step, parts = max(1, -(-count // 8)), []
    for number in range(first.month, first.month + count, step):
        at = int(datetime(first.year + number // 12, number % 12 + 1, 1, tzinfo=UTC).timestamp())
        if at <= end:
            parts.append(
                f'<text class="tick" x="{scale.x(at)}" y="{height - 6}" text-anchor="middle">{iso(at)[:7]}</text>'
                f'<path class="grid" d="M{scale.x(at)} {TOP - 6}V{height - BOTTOM}"/>'
            )
    return "".join(parts)


def _ends(start: int, end: int, height: int = HEIGHT) -> str:
    return (
        f'<text class="tick" x="{LEFT}" y="{height - 6}">{day(start)}</text>'
        f'<text class="tick" x="{WIDTH - RIGHT}" y="{height - 6}" text-anchor="end">{day(end)}</text>'
    )


def _svg(inner: str, height: int, said: str) -> Html:
    return scrolling(
        Html(f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html(said)}">{inner}</svg>')
    )
