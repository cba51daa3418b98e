"""Pictures of pipelines and runs, for notebooks and pages, on light and on dark.

Text and lines take the colour of what is around them; fills are in the middle between light and
dark, and never the only sign of a state.
"""

from __future__ import annotations

import html
import time
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from .run import describe_approval, describe_failure, outputs_text

if TYPE_CHECKING:
    from .run import View

_Spot = Union[str, Tuple[str, int]]  # of a task, or of lines from a task in a column
_COLOURS = {
    "pending": "#8a8f98",
    "waiting": "#9b5de5",
    "running": "#3b82f6",
    "succeeded": "#2e9e5b",
    "failed": "#dc4c4c",
    "skipped": "#8a8f98",
    "cancelled": "#c98a1b",
    "interrupted": "#c98a1b",
}
_SIGNS = {
    "pending": "○", "waiting": "?", "running": "▶", "succeeded": "✓", "failed": "✗", "skipped": "↷",
    "cancelled": "■", "interrupted": "‖",
}  # fmt: skip
_HEIGHT = 30  # of a box
_ROW, _GAP = 46, 44
_LANE = 20  # of a line that passes by
_CHARACTER = 7.4  # the width of one, about
_MOST_TASKS = 200  # that are drawn
_GANTT_WIDTH = 420
_CELL = 'style="text-align:left;padding:1px 14px 1px 0;white-space:nowrap"'


def graph_svg(
    tasks: Sequence[Mapping[str, Any]], states: Optional[Mapping[str, Mapping[str, Any]]] = None
) -> str:
    """The tasks as boxes, from left to right, with what they wait for."""
    if len(tasks) > _MOST_TASKS:
        return f"<p>{len(tasks)} tasks: too many to draw</p>"
    layout = _Layout(tasks)
    place, width = layout.place, layout.width
    parts = []
    for task in tasks:
        for needed in task.get("dependencies", ()):
            if needed not in layout.level:
                continue
            dashes = ' stroke-dasharray="4 3"' if "when" in task else ""
            parts.append(
                f'<path d="{layout.line(needed, task["name"])}" fill="none" '
                f'stroke="currentColor" opacity=".45"{dashes}/>'
            )
    for task in tasks:
        name = task["name"]
        state = (states or {}).get(name, {}).get("state", "")
        colour, sign = _COLOURS.get(state, _COLOURS["pending"]), _SIGNS.get(state, "")
        at_x, at_y = place[name]
        hint = [name] + [f"{key}: {task[key]}" for key in ("when", "resources") if key in task]
        dashes = ' stroke-dasharray="4 3"' if state == "skipped" else ""
        parts.append(
            f"<g><title>{html.escape(chr(10).join(hint))}</title>"
            f'<rect x="{at_x:.0f}" y="{at_y:.0f}" width="{width[name]:.0f}" height="{_HEIGHT}" rx="6" '
            f'fill="{colour}" fill-opacity=".2" stroke="{colour}" stroke-width="1.5"{dashes}/>'
            f'<text x="{at_x + 10:.0f}" y="{at_y + 20:.0f}" fill="{colour}">{sign}</text>'
            f'<text x="{at_x + (26 if sign else 18):.0f}" y="{at_y + 20:.0f}">{html.escape(name)}'
            "</text></g>"
        )
    size = f"{layout.right:.0f} {layout.bottom:.0f}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" '
        f'width="{layout.right:.0f}" height="{layout.bottom:.0f}" '
        'style="max-width:100%;height:auto" '
        'font-family="ui-monospace,Menlo,Consolas,monospace" font-size="12" fill="currentColor">'
        + "".join(parts)
        + "</svg>"
    )


class _Layout:
    """Where the boxes are: in columns, by the longest way to each. A line that passes columns by has
    a lane in each of them, which all lines from its task share, so that none crosses a box."""

    def __init__(self, tasks: Sequence[Mapping[str, Any]]) -> None:
        self.level: Dict[str, int] = {}
        self.width = {task["name"]: len(task["name"]) * _CHARACTER + 36 for task in tasks}
        needed = {
            task["name"]: [d for d in task.get("dependencies", ()) if d in self.width]
            for task in tasks
        }
        for name in needed:  # a task comes after those it depends on, as they were called
            self.level[name] = max((self.level.get(d, 0) + 1 for d in needed[name]), default=0)
        columns: List[Dict[_Spot, List[_Spot]]] = [  # what is in each, and what comes before it
            {} for _ in range(max(self.level.values(), default=0) + 1)
        ]
        for name, at in self.level.items():
            columns[at][name] = [self._before(source, at) for source in needed[name]]
            for source in needed[name]:
                for lane in range(self.level[source] + 1, at):
                    columns[lane][source, lane] = [self._before(source, lane)]
        self.place: Dict[_Spot, Tuple[float, float]] = {}
        self.right, self.bottom = 8.0, 8.0
        for column in columns:
            names = [spot for spot in column if isinstance(spot, str)]
            wide = max((self.width[name] for name in names), default=0.0)
            y = 8.0
            for spot in sorted(column, key=lambda spot: self._height_of(column[spot])):
                self.place[spot] = (self.right, y)
                y += _ROW if isinstance(spot, str) else _LANE
                self.width.setdefault(spot, wide)
            self.bottom = max(self.bottom, y)
            self.right += wide + _GAP
        self.right += 8 - _GAP

    def _before(self, source: str, at: int) -> "_Spot":
        """Where a line from this task into column `at` comes from."""
        return source if self.level[source] == at - 1 else (source, at - 1)

    def _height_of(self, before: "Sequence[_Spot]") -> float:
        return sum(self.place[spot][1] for spot in before) / len(before) if before else 0.0

    def line(self, source: str, target: str) -> str:
        """The path from one box to another."""
        spots: List[_Spot] = [source]
        spots += [(source, at) for at in range(self.level[source] + 1, self.level[target])]
        x, y = self._left(source)
        path = f"M{x + self.width[source]:.0f} {y:.0f}"
        for before, spot in zip(spots, [*spots[1:], target]):
            from_x, from_y = self._left(before)
            from_x += self.width[before]
            to_x, to_y = self._left(spot)
            bend = (to_x - from_x) / 2
            path += (
                f"C{from_x + bend:.0f} {from_y:.0f} {to_x - bend:.0f} {to_y:.0f} "
                f"{to_x:.0f} {to_y:.0f}"
            )
            if spot != target:
                path += f"H{to_x + self.width[spot]:.0f}"
        return path

    def _left(self, spot: "_Spot") -> Tuple[float, float]:
        """Where lines reach it."""
        x, y = self.place[spot]
        return x, y + (_HEIGHT if isinstance(spot, str) else _LANE - 16) / 2


def run_html(
    view: "View",
    document: Sequence[Mapping[str, Any]],
    spans: Mapping[str, Sequence[int]],
) -> str:
    """A run: its graph, and a table of its tasks with when each ran: from, and to if it has ended,
    in nanoseconds."""
    colour, sign = _COLOURS.get(view.status, "#8a8f98"), _SIGNS.get(view.status, "")
    parameters = ", ".join(f"{k}={v}" for k, v in view.parameters.items())
    head = (
        f'<div><b style="color:{colour}">{sign} {view.status}</b>&ensp;<b>{html.escape(view.run)}'
        f'</b>&ensp;<span style="opacity:.75">{html.escape(parameters)}</span></div>'
    )
    graph = graph_svg(document, view.tasks) if document else ""
    return (
        '<div style="font:13px/1.5 ui-sans-serif,system-ui,sans-serif;color:inherit">'
        f'{head}<div style="margin:8px 0">{graph}</div>{_table(view, spans)}</div>'
    )


def _table(view: "View", spans: Mapping[str, Sequence[int]]) -> str:
    now = max([span[-1] for span in spans.values()], default=0)
    if not view.finished:
        now = time.time_ns()
    start = min([span[0] for span in spans.values()], default=0)
    rows = []
    for name, task in list(view.tasks.items())[:_MOST_TASKS]:
        state = task["state"]
        colour = _COLOURS[state]
        note = outputs_text(task)
        if task.get("approval"):
            note = describe_approval(task["approval"])
        elif state == "failed" and task.get("failure"):
            note = describe_failure(task["failure"])
        elif state == "skipped":
            note = task.get("skipped", {}).get("message", "")
        shown = "cached" if task.get("cached") else state
        bar, spent = "", ""
        if name in spans and not task.get("cached"):
            span = spans[name]
            end = span[1] if len(span) > 1 else now
            label = f"{(end - span[0]) / 1e9:.1f} s"
            bar = _bar(span[0] - start, end - start, now - start, colour, label)
            spent = label
        rows.append(
            f"<tr><td {_CELL}>{html.escape(name)}</td>"
            f'<td {_CELL}><span style="color:{colour}">{_SIGNS[state]} {shown}</span></td>'
            f"<td {_CELL}>{spent}</td><td {_CELL}>{bar}</td>"
            f'<td {_CELL}><span style="opacity:.75">{html.escape(note[:80])}</span></td></tr>'
        )
    left = len(view.tasks) - _MOST_TASKS
    more = f"<p>and {left} more</p>" if left > 0 else ""
    return f'<table style="border-collapse:collapse;color:inherit;font:inherit">{"".join(rows)}</table>{more}'


def use_html(rows: "Sequence[Tuple[str, str, float, float, str]]") -> str:
    """What is in use of what there is: name, text, used, capacity, note of each."""
    lines = []
    for name, shown, used, capacity, note in rows:
        colour = _COLOURS["failed"] if note else _COLOURS["running"]
        bar = _bar(0, used, capacity, colour, shown) if capacity > 0 else ""
        lines.append(
            f"<tr><td {_CELL}>{html.escape(name)}</td><td {_CELL}>{bar}</td>"
            f"<td {_CELL}>{html.escape(shown)}</td><td {_CELL}>{html.escape(note)}</td></tr>"
        )
    return (
        '<table style="border-collapse:collapse;color:inherit;'
        f'font:13px/1.5 ui-sans-serif,system-ui,sans-serif">{"".join(lines)}</table>'
    )


def _bar(begin: float, end: float, whole: float, colour: str, label: str) -> str:
    """A part of the whole, as when a task ran on the time of its run."""
    scale = _GANTT_WIDTH / max(whole, 1)
    wide = max(2.0, (end - begin) * scale) if end > begin else 0.0
    left = min(begin * scale, _GANTT_WIDTH - wide)
    return (
        f'<svg width="{_GANTT_WIDTH}" height="12" role="img" '
        f'aria-label="{html.escape(label)}">'
        f'<rect width="{_GANTT_WIDTH}" height="12" fill="currentColor" opacity=".07"/>'
        f'<rect x="{left:.1f}" width="{wide:.1f}" height="12" rx="2" fill="{colour}"/></svg>'
    )
