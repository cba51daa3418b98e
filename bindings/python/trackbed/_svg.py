"""Pictures of pipelines and runs, for notebooks and pages, on light and on dark.

Text and lines take the colour of what is around them; fills are in the middle between light and
dark, and never the only sign of a state.
"""

from __future__ import annotations

import datetime
import html
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence

from .run import describe_failure, parse_time

if TYPE_CHECKING:
    from .run import View

_COLOURS = {
    "pending": "#8a8f98",
    "running": "#3b82f6",
    "succeeded": "#2e9e5b",
    "failed": "#dc4c4c",
    "skipped": "#8a8f98",
    "cancelled": "#c98a1b",
    "interrupted": "#c98a1b",
}
_SIGNS = {
    "pending": "○", "running": "▶", "succeeded": "✓", "failed": "✗", "skipped": "↷",
    "cancelled": "■", "interrupted": "‖",
}  # fmt: skip
_HEIGHT = 30  # of a box
_ROW, _GAP = 46, 44
_CHARACTER = 7.4  # the width of one, about
_MOST_TASKS = 200  # that are drawn
_GANTT_WIDTH = 420


def graph_svg(
    tasks: Sequence[Mapping[str, Any]], states: Optional[Mapping[str, Mapping[str, Any]]] = None
) -> str:
    """The tasks as boxes, from left to right, with what they wait for."""
    if len(tasks) > _MOST_TASKS:
        return f"<p>{len(tasks)} tasks: too many to draw</p>"
    level: Dict[str, int] = {}
    for task in tasks:  # a task comes after those it depends on, as they were called
        before = [level.get(d, 0) for d in task.get("dependencies", ())]
        level[task["name"]] = max(before) + 1 if before else 0
    columns: List[List[str]] = [[] for _ in range(max(level.values(), default=0) + 1)]
    for name, at in level.items():
        columns[at].append(name)
    x, place, width = 8.0, {}, {}
    for column in columns:
        wide = max(len(name) for name in column) * _CHARACTER + 36
        for row, name in enumerate(column):
            place[name] = (x, 8 + row * _ROW)
            width[name] = len(name) * _CHARACTER + 36
        x += wide + _GAP
    height = 8 + max(len(column) for column in columns) * _ROW
    parts = []
    for task in tasks:
        to_x, to_y = place[task["name"]]
        for needed in task.get("dependencies", ()):
            if needed not in place:
                continue
            from_x, from_y = place[needed]
            from_x, y1, y2 = from_x + width[needed], from_y + _HEIGHT / 2, to_y + _HEIGHT / 2
            bend = max(20.0, (to_x - from_x) / 2)
            dashes = ' stroke-dasharray="4 3"' if "when" in task else ""
            parts.append(
                f'<path d="M{from_x:.0f} {y1:.0f}C{from_x + bend:.0f} {y1:.0f} '
                f'{to_x - bend:.0f} {y2:.0f} {to_x:.0f} {y2:.0f}" fill="none" '
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
            f'<rect x="{at_x:.0f}" y="{at_y}" width="{width[name]:.0f}" height="{_HEIGHT}" rx="6" '
            f'fill="{colour}" fill-opacity=".2" stroke="{colour}" stroke-width="1.5"{dashes}/>'
            f'<text x="{at_x + 10:.0f}" y="{at_y + 20}" fill="{colour}">{sign}</text>'
            f'<text x="{at_x + 26:.0f}" y="{at_y + 20}">{html.escape(name)}</text></g>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {x:.0f} {height}" '
        f'width="{x:.0f}" height="{height}" style="max-width:100%;height:auto" '
        'font-family="ui-monospace,Menlo,Consolas,monospace" font-size="12" fill="currentColor">'
        + "".join(parts)
        + "</svg>"
    )


def run_html(view: "View", document: Sequence[Mapping[str, Any]]) -> str:
    """A run: its graph, and a table of its tasks with when each ran."""
    colour, sign = _COLOURS.get(view.status, "#8a8f98"), _SIGNS.get(view.status, "")
    parameters = ", ".join(f"{k}={v}" for k, v in view.parameters.items())
    head = (
        f'<div><b style="color:{colour}">{sign} {view.status}</b>&ensp;<b>{html.escape(view.run)}'
        f'</b>&ensp;<span style="opacity:.75">{html.escape(parameters)}</span></div>'
    )
    graph = graph_svg(document, view.tasks) if document else ""
    return (
        '<div style="font:13px/1.5 ui-sans-serif,system-ui,sans-serif;color:inherit">'
        f'{head}<div style="margin:8px 0">{graph}</div>{_table(view)}</div>'
    )


def _table(view: "View") -> str:
    start = parse_time(view.submitted)
    ended = parse_time(view.ended) if view.ended else None
    now = ended or datetime.datetime.now(datetime.timezone.utc)
    whole = max((now - start).total_seconds(), 0.001)
    rows = []
    for name, task in list(view.tasks.items())[:_MOST_TASKS]:
        state = task["state"]
        colour = _COLOURS[state]
        outputs = ", ".join(f"{k}={v}" for k, v in task.get("outputs", {}).items())
        note = outputs
        if state == "failed" and task.get("failure"):
            note = describe_failure(task["failure"])
        elif state == "skipped":
            note = task.get("skipped", {}).get("message", "")
        shown = "cached" if task.get("cached") else state
        bar, spent = _bar(task, start, now, whole, colour)
        cell = 'style="text-align:left;padding:1px 14px 1px 0;white-space:nowrap"'
        rows.append(
            f"<tr><td {cell}>{html.escape(name)}</td>"
            f'<td {cell}><span style="color:{colour}">{_SIGNS[state]} {shown}</span></td>'
            f"<td {cell}>{spent}</td><td {cell}>{bar}</td>"
            f'<td {cell}><span style="opacity:.75">{html.escape(note[:80])}</span></td></tr>'
        )
    left = len(view.tasks) - _MOST_TASKS
    more = f"<p>and {left} more</p>" if left > 0 else ""
    return f'<table style="border-collapse:collapse">{"".join(rows)}</table>{more}'


def _bar(
    task: Mapping[str, Any],
    start: datetime.datetime,
    now: datetime.datetime,
    whole: float,
    colour: str,
) -> "tuple[str, str]":
    """When a task ran, as a bar on the time of the run, and for how long."""
    if "started" not in task or task.get("cached"):
        return "", ""
    began = parse_time(task["started"])
    end = parse_time(task["finished"]) if "finished" in task else now
    seconds = (end - began).total_seconds()
    left = max(0.0, (began - start).total_seconds() / whole) * _GANTT_WIDTH
    wide = max(2.0, seconds / whole * _GANTT_WIDTH)
    return (
        f'<svg width="{_GANTT_WIDTH}" height="12" role="img" aria-label="{seconds:.1f} s">'
        f'<rect width="{_GANTT_WIDTH}" height="12" fill="currentColor" opacity=".07"/>'
        f'<rect x="{min(left, _GANTT_WIDTH - wide):.1f}" width="{wide:.1f}" height="12" rx="2" '
        f'fill="{colour}"/></svg>',
        f"{seconds:.1f} s",
    )
