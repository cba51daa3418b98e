"""Pipelines that are files."""

from __future__ import annotations

import json
import pathlib
from typing import Any, Dict, List, Mapping, Union

from ._native import NativePipeline
from ._runnable import Runnable
from ._trace import Place, current
from .run import Run


class PipelineFile(Runnable):
    """A pipeline's file, read by `load`: as it was then, whatever becomes of the file."""

    def __init__(self, path: pathlib.Path) -> None:
        with NativePipeline.load(str(path)) as native:
            self._json = native.write("json")
            self.version = native.version
        self._fields: Dict[str, Any] = json.loads(self._json)
        super().__init__(str(self._fields["name"]))
        self.path = path

    def __repr__(self) -> str:
        return f"<pipeline {self.name} of {self.path}>"

    @property
    def parameters(self) -> Dict[str, Dict[str, Any]]:
        """What `run` and `submit` take: of each its "type", and what else is said of it."""
        found = self._fields.get("parameters", {})
        return {name: {"type": "string", **fields} for name, fields in found.items()}

    def _native(self) -> NativePipeline:
        return NativePipeline.parse(self._json, "json", str(self.path))

    def _tasks(self) -> List[Mapping[str, Any]]:
        return list(self._fields["tasks"])

    def _submit(self, place: Place, args: Any, kwargs: Any) -> Run:
        if current() is not None:
            raise place.error(f"{self.name} of {self.path} cannot be part of a @pipeline")
        if args:
            raise place.error(f"{self.name}: parameters of a file are given by name")
        base = str(self.path.parent.absolute())
        with self._native() as native:
            return self._engine()._submit_native(native, json.dumps(kwargs), base, *self._chosen())


def load(path: "Union[str, pathlib.Path]") -> PipelineFile:
    """Reads a pipeline's file, YAML or JSON, Trackbed's own or FastTrack's. What is wrong with it is
    told with its lines: InvalidArgument. A notebook draws it; `run`, `submit` and `using` are those
    of pipelines of Python's.

    >>> import pathlib, tempfile
    >>> from trackbed import load
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "hello.yaml"
    >>> _ = file.write_text(
    ...     "name: hello\\nparameters: {who: {default: world}}\\n"
    ...     "tasks: [{name: greet, command: 'echo hello ${{ params.who }}'}]\\n"
    ... )
    >>> hello = load(file)
    >>> print(hello.describe())
    greet
    >>> hello.parameters
    {'who': {'type': 'string', 'default': 'world'}}
    """
    return PipelineFile(pathlib.Path(path))
