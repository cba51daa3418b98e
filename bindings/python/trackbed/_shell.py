"""Steps that are commands of a shell rather than functions."""

from __future__ import annotations

import pathlib
import re
from typing import Any, Dict, Mapping, Optional

from . import _hints
from ._options import Options
from ._refs import FieldsRef, OutputRef, referenced_tasks
from ._trace import Node, Place, within_pipeline
from .errors import BuildError

_INPUT = re.compile(r"TRACKBED_INPUTS\}?\"?/([A-Za-z0-9._-]+)/")


class ShellResult(FieldsRef):
    """What a shell task leaves: its declared outputs as attributes, its files by name."""

    def __init__(self, node: Node) -> None:
        super().__init__(node, _hints.Fields("dict", node.outputs), Any)

    def file(self, name: str) -> pathlib.Path:
        """The file or folder of this name in its $TRACKBED_OUTPUTS."""
        return FileRef(self._node, name)  # type: ignore[return-value]


class FileRef(OutputRef):
    def __init__(self, node: Node, name: str) -> None:
        super().__init__(node, name, pathlib.Path)

    def _binding(self) -> Dict[str, Any]:
        return {"from": self._node.name, "file": self._output}

    def __format__(self, spec: str) -> str:
        return f'"$TRACKBED_INPUTS"/{self._node.name}/{self._output}'


def shell(
    script: str,
    *,
    name: str = "shell",
    outputs: Optional[Mapping[str, type]] = None,
    **options: Any,
) -> ShellResult:
    """A step that is a script for /bin/sh.

    Parameters and results of tasks may stand in it as in an f-string; values are put in as one
    word each, quoted where needed. It leaves files in $TRACKBED_OUTPUTS and the values it declares
    in `outputs` as lines NAME=VALUE in the file $TRACKBED_OUTPUT. Options are those of `@task`.

    >>> from trackbed import pipeline, shell
    >>> @pipeline
    ... def hello(name: str = "world") -> None:
    ...     greeting = shell(f'echo hello {name} > "$TRACKBED_OUTPUTS/text"', name="greet")
    ...     shell(f"wc -c {greeting.file('text')}", name="count")
    >>> print(hello.describe())
    greet
    count  after greet
    """
    place = Place.of_caller()
    trace = within_pipeline("shell(…)", place)
    hints = dict(outputs or {})
    for output, hint in hints.items():
        if _hints.scalar_type(hint) is None:
            raise place.error(
                f"outputs: {output}: found {_hints.name_of(hint)}, expected str, float, int or bool"
            )
    try:
        checked = Options().changed(options)
    except BuildError as error:
        raise place.error(str(error)) from None
    node = trace.add(name, checked, place, fixed=False)
    node.script = script
    node.kind, node.outputs = "dict", hints
    node.declared = {n: str(_hints.scalar_type(h)) for n, h in hints.items()}
    trace.depend_on_named(node, referenced_tasks(script) + _INPUT.findall(script))
    return ShellResult(node)
