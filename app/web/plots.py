"""Plots drawn on the server: where the bars, lines and words of a figure stand, and the table of the same numbers.

Knows coordinates in a small box, which scales with the page. Knows nothing of what is plotted. A plot has no scripts
and no inline styles, is read out as one sentence and prints; everything in it is also in its table.
"""

import math
from collections.abc import Sequence

from app.web.contexts import Plot, PlotBar, PlotDot, PlotLabel, PlotLine

WIDTH, HEIGHT = 320, 160
LEFT, RIGHT, TOP, BOTTOM = 36, 8, 10, 22
MOST_POINTS = 120
"""More points than this are thinned: a plot a few hundred pixels wide shows no more of them."""
FOREST_ROW, FOREST_LEFT = 26, 118


def _ceiling(value: float, steps: Sequence[int] = (1, 2, 5, 10)) -> float:
    """The next round number: one of these steps with zeros."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in steps if step * power >= value)


def _y(value: float, top: float) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / top, 1)


def _frame(top: float, written: Sequence[str]) -> tuple[list[PlotLine], list[PlotLabel]]:
    """Lines at nothing, half and the top, and what they stand for."""
    lines, labels = [], []
    for part, words in zip((0.0, 0.5, 1.0), written, strict=True):
        y = _y(part * top, top)
        lines.append(PlotLine(f"{LEFT},{y} {WIDTH - RIGHT},{y}", "grid"))
        labels.append(PlotLabel(LEFT - 5, y + 4, words, "end"))
    return lines, labels


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def bars(
    id: str,
    title: str,
    about: str,
    said: str,
    values: Sequence[float],
    names: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    *,
    top: float | None = None,
    rule: tuple[float, str] | None = None,
    percent: bool = False,
) -> Plot:
    """Bars side by side. `names` stand under them, `cells` beside them in the table; `rule`: a line at a value."""
    high = top or _ceiling(max(values, default=0))
    written = [f"{high * part:.0%}" if percent else _number(high * part) for part in (0.0, 0.5, 1.0)]
    lines, labels = _frame(high, written)
    step = (WIDTH - LEFT - RIGHT) / max(1, len(values))
    every = math.ceil(len(names) / 10)
    drawn = []
    for index, (value, name) in enumerate(zip(values, names, strict=True)):
        y, x = _y(value, high), LEFT + step * index
        drawn.append(
            PlotBar(round(x + step * 0.15, 1), y, round(step * 0.7, 1), round(HEIGHT - BOTTOM - y, 1), "first")
        )
        if index % every == 0:
            labels.append(PlotLabel(round(x + step / 2, 1), HEIGHT - 6, name, "middle"))
    if rule is not None:
        y = _y(rule[0], high)
        lines.append(PlotLine(f"{LEFT},{y} {WIDTH - RIGHT},{y}", "limit"))
    return Plot(
        id=id,
        title=title,
        about=about,
        said=said,
        width=WIDTH,
        height=HEIGHT,
        bars=drawn,
        lines=lines,
        dots=[],
        labels=labels,
        legend=[] if rule is None else [("limit", rule[1])],
        columns=list(columns),
        rows=[(name, list(row)) for name, row in zip(names, cells, strict=True)],
        thinned=False,
    )


def lines(
    id: str,
    title: str,
    about: str,
    said: str,
    series: Sequence[tuple[str, Sequence[float]]],
    names: Sequence[str],
    columns: Sequence[str],
    *,
    limit: tuple[float, str] | None = None,
) -> Plot:
    """One or two lines over the same steps. `names` are the steps in the table; the first and last stand below."""
    kept = _thinned(len(names))
    highest = max([*(value for _, values in series for value in values), limit[0] if limit else 0], default=0)
    high = _ceiling(highest)
    drawn, labels = _frame(high, [_number(high * part) for part in (0.0, 0.5, 1.0)])
    reach = WIDTH - LEFT - RIGHT
    if limit is not None:
        y = _y(limit[0], high)
        drawn.append(PlotLine(f"{LEFT},{y} {WIDTH - RIGHT},{y}", "limit"))
    dots = []
    for tone, (_, values) in zip(("first", "second"), series, strict=False):
        points = [
            (round(LEFT + reach * (index / max(1, len(names) - 1)), 1), _y(values[index], high)) for index in kept
        ]
        drawn.append(PlotLine(" ".join(f"{x},{y}" for x, y in points), tone))
        # A line through few points is not seen without them.
        if len(points) < 12:
            dots += [PlotDot(x, y, tone) for x, y in points]
    if names:
        labels.append(PlotLabel(LEFT, HEIGHT - 6, names[0], "start"))
    if len(names) > 1:
        labels.append(PlotLabel(WIDTH - RIGHT, HEIGHT - 6, names[-1], "end"))
    rows = [(names[index], [f"{values[index]:.2f}" for _, values in series]) for index in kept]
    return _of_lines(
        (id, title, about, said),
        (drawn, dots, labels),
        _legend([name for name, _ in series], limit),
        columns,
        rows,
        thinned=len(kept) < len(names),
    )


def _legend(names: Sequence[str], limit: tuple[float, str] | None) -> list[tuple[str, str]]:
    """What the lines stand for; one line alone is what the plot is about."""
    named = list(zip(("first", "second"), names, strict=False)) if len(names) > 1 else []
    return [*named, *([] if limit is None else [("limit", limit[1])])]


def _of_lines(
    words: tuple[str, str, str, str],
    drawn: tuple[list[PlotLine], list[PlotDot], list[PlotLabel]],
    legend: list[tuple[str, str]],
    columns: Sequence[str],
    rows: Sequence[tuple[str, Sequence[str]]],
    *,
    thinned: bool,
) -> Plot:
    """A plot of lines, dots and labels; `words` are its id, title, what it is about, and what it says."""
    id, title, about, said = words
    lines, dots, labels = drawn
    return Plot(
        id=id,
        title=title,
        about=about,
        said=said,
        width=WIDTH,
        height=HEIGHT,
        bars=[],
        lines=lines,
        dots=dots,
        labels=labels,
        legend=legend,
        columns=list(columns),
        rows=[(name, list(figures)) for name, figures in rows],
        thinned=thinned,
    )


def _thinned(count: int) -> list[int]:
    if count <= MOST_POINTS:
        return list(range(count))
    every = math.ceil(count / MOST_POINTS)
    return sorted({*range(0, count, every), count - 1})


def forest(
    id: str,
    title: str,
    about: str,
    said: str,
    rows: Sequence[tuple[str, float, float | None, float | None, float | None]],
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
) -> Plot:
    """Shares with their intervals, one under another, from 40 to 100 %; the last of a row is what to compare with."""
    height = FOREST_ROW * len(rows) + BOTTOM + 4
    base = height - BOTTOM

    def at(share: float) -> float:
        return round(FOREST_LEFT + (WIDTH - RIGHT - 10 - FOREST_LEFT) * (min(max(share, 0.4), 1.0) - 0.4) / 0.6, 1)

    drawn, dots, labels = [], [], []
    for share in (0.4, 0.6, 0.8, 1.0):
        drawn.append(PlotLine(f"{at(share)},4 {at(share)},{base}", "grid"))
        labels.append(PlotLabel(at(share), height - 6, f"{share:.0%}", "middle"))
    for index, (name, value, low, high, beside) in enumerate(rows):
        y = 4 + FOREST_ROW * (index + 0.5)
        labels.append(PlotLabel(FOREST_LEFT - 8, y + 4, name, "end"))
        if low is not None and high is not None:
            drawn.append(PlotLine(f"{at(low)},{y} {at(high)},{y}", "first"))
        if beside is not None:
            drawn.append(PlotLine(f"{at(beside)},{y - 8} {at(beside)},{y + 8}", "limit"))
        dots.append(PlotDot(at(value), y, "first"))
    return Plot(
        id=id,
        title=title,
        about=about,
        said=said,
        width=WIDTH,
        height=height,
        bars=[],
        lines=drawn,
        dots=dots,
        labels=labels,
        legend=[("first", "here, with 95 % interval"), ("limit", "the study of 2020")],
        columns=list(columns),
        rows=[(row[0], list(figures)) for row, figures in zip(rows, cells, strict=True)],
        thinned=False,
    )


def against(
    id: str,
    title: str,
    about: str,
    said: str,
    series: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    columns: Sequence[str],
    rows: Sequence[tuple[str, Sequence[str]]],
    *,
    limit: tuple[float, str] | None = None,
    spans: Sequence[tuple[float, float, float]] = (),
    share: bool = False,
    thinned: bool = False,
) -> Plot:
    """One or two lines through points (x, y), x from 0 and y from 0 or below; `rows` are the table.

    `limit` is a line up at an x; `spans` are intervals (x, from, to) of the second series; `share`: y is 0 to 100 %.
    """
    across = [x for _, points in series for x, _ in points]
    values = [y for _, points in series for _, y in points]
    right = _ceiling(max([*across, *([limit[0]] if limit else [])], default=0), (1, 2, 3, 4, 5, 6, 8, 10))
    top = 1.0 if share else _ceiling(max(values, default=0))
    bottom = 0.0 if share or min(values, default=0) >= 0 else -_ceiling(-min(values))
    reach, height = WIDTH - LEFT - RIGHT, HEIGHT - BOTTOM - TOP

    def at(x: float, y: float) -> tuple[float, float]:
        return round(LEFT + reach * x / right, 1), round(TOP + height * (top - y) / (top - bottom), 1)

    drawn, labels = [], []
    for part in (bottom, (bottom + top) / 2, top):
        y = at(0, part)[1]
        drawn.append(PlotLine(f"{LEFT},{y} {WIDTH - RIGHT},{y}", "grid"))
        labels.append(PlotLabel(LEFT - 5, y + 4, f"{part:.0%}" if share else _number(part), "end"))
    labels += [PlotLabel(at(part, 0)[0], HEIGHT - 6, _number(part), "end" if part else "middle") for part in (0, right)]
    if limit is not None:
        x = at(limit[0], 0)[0]
        drawn.append(PlotLine(f"{x},{TOP} {x},{HEIGHT - BOTTOM}", "limit"))
    for x, low, high in spans:
        drawn.append(PlotLine(" ".join(f"{a},{b}" for a, b in (at(x, low), at(x, high))), "second"))
    dots = []
    for tone, (_, points) in zip(("first", "second"), series, strict=False):
        places = [at(x, y) for x, y in points]
        drawn.append(PlotLine(" ".join(f"{x},{y}" for x, y in places), tone))
        if len(places) < 12:
            dots += [PlotDot(x, y, tone) for x, y in places]
    return _of_lines(
        (id, title, about, said),
        (drawn, dots, labels),
        _legend([name for name, _ in series], limit),
        columns,
        rows,
        thinned=thinned,
    )
