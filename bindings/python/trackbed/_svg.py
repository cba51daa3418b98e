"""Pictures of pipelines and runs, for notebooks and pages, on light and on dark.

Text and lines take the colour of what is around them; fills are in the middle between light and
dark, and never the only sign of a state.
"""

from __future__ import annotations

import html
import time
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence

from .run import describe_failure, outputs_text

if TYPE_CHECKING:
    from .run import View

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
        if state == "failed" and task.get("failure"):
            note = describe_failure(task["failure"])
        elif state == "skipped":
            note = task.get("skipped", {}).get("message", "")
        shown = "cached" if task.get("cached") else state
        bar, spent = "", ""
        if name in spans and not task.get("cached"):
            span = spans[name]
            end = span[1] if len(span) > 1 else now
            bar = _bar(span[0] - start, end - start, now - start, colour)
            spent = f"{(end - span[0]) / 1e9:.1f} s"
        cell = 'style="text-align:left;padding:1px 14px 1px 0;white-space:nowrap"'
        rows.append(
            f"<tr><td {cell}>{html.escape(name)}</td>"
            f'<td {cell}><span style="color:{colour}">{_SIGNS[state]} {shown}</span></td>'
            f"<td {cell}>{spent}</td><td {cell}>{bar}</td>"
            f'<td {cell}><span style="opacity:.75">{html.escape(note[:80])}</span></td></tr>'
        )
    left = len(view.tasks) - _MOST_TASKS
    more = f"<p>and {left} more</p>" if left > 0 else ""
    return f'<table style="border-collapse:collapse;color:inherit;font:inherit">{"".join(rows)}</table>{more}'


def _bar(begin: int, end: int, whole: int, colour: str) -> str:
    """When a task ran, as a bar on the time of the run."""
    scale = _GANTT_WIDTH / max(whole, 1)
    wide = max(2.0, (end - begin) * scale)
    left = min(begin * scale, _GANTT_WIDTH - wide)
    return (
        f'<svg width="{_GANTT_WIDTH}" height="12" role="img" '
        f'aria-label="{(end - begin) / 1e9:.1f} s">'
        f'<rect width="{_GANTT_WIDTH}" height="12" fill="currentColor" opacity=".07"/>'
        f'<rect x="{left:.1f}" width="{wide:.1f}" height="12" rx="2" fill="{colour}"/></svg>'
    )
