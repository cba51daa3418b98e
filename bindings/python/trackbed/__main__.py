"""`python -m trackbed run FILE PIPELINE [--PARAMETER VALUE …]`: runs a pipeline of a Python file."""

from __future__ import annotations

import argparse
import inspect
import pathlib
import sys
from typing import Any, List, Optional

from . import __version__, _codec, _hints
from .errors import RunFailed, TrackbedError

SUCCESS, FAILED, BAD_INPUT, CANCELLED, INTERRUPTED = 0, 1, 2, 3, 4


def _pipelines(file: str) -> "dict[str, Any]":
    from ._pipeline import Pipeline
    from .worker import load_script

    path = pathlib.Path(file)
    if not path.is_file():
        raise TrackbedError(f"{file}: there is no such file")
    sys.path.insert(0, str(path.resolve().parent))
    module = load_script(path.resolve(), _codec.MAIN)
    return {name: value for name, value in vars(module).items() if isinstance(value, Pipeline)}


def _choose(found: "dict[str, Any]", file: str, name: Optional[str]) -> Any:
    if name is None and len(found) == 1:
        return next(iter(found.values()))
    if name in found:
        return found[name]
    named = [p for p in found.values() if p.name == name]
    if named:
        return named[0]
    have = ", ".join(sorted(found)) or "none"
    if name is None:
        raise TrackbedError(f"{file} has several pipelines, name one of them: {have}")
    raise TrackbedError(f"{file} has no pipeline {name!r}; it has {have}")


def _flags(pipeline: Any, program: str) -> argparse.ArgumentParser:
    """The flags that the hints of a pipeline stand for."""
    doc = inspect.getdoc(pipeline.function)
    parser = argparse.ArgumentParser(prog=program, description=doc)
    group = parser.add_argument_group("parameters of the pipeline")
    for name, parameter in pipeline._signature.parameters.items():
        hint = pipeline._parameter_hint(name)
        kind = _hints.scalar_type(hint)
        required = parameter.default is inspect.Parameter.empty
        texts = [part for part in _hints.annotated_parts(hint) if isinstance(part, str)]
        about = (texts[0] if texts else "").replace("%", "%%")
        if not required:
            about = f"{about} ({parameter.default!r})".strip().replace("%", "%%")
        options: "dict[str, Any]" = {"dest": name, "help": about, "required": required}
        if not required:
            options["default"] = parameter.default
        flag = "--" + name.replace("_", "-")
        if kind == "boolean":
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["type"] = {"integer": int, "number": float}.get(kind or "", str)
            options["choices"] = _hints.choices(hint) or None
            options["metavar"] = None if options["choices"] else (kind or "text").upper()
        group.add_argument(flag, **options)
    return parser


def _run(arguments: List[str]) -> int:
    file, rest = arguments[0], arguments[1:]
    name = rest.pop(0) if rest and not rest[0].startswith("-") else None
    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    common.add_argument("--home")
    common.add_argument("--no-cache", action="store_true")
    pipeline = _choose(_pipelines(file), file, name)
    if "priority" not in pipeline._signature.parameters:  # else that is meant
        common.add_argument("--priority", type=int, metavar="INTEGER")
    common.set_defaults(priority=None)
    options, rest = common.parse_known_args(rest)
    program = f"trackbed run {file} {pipeline.name}"
    values = vars(_flags(pipeline, program).parse_args(rest))
    run = pipeline.using(
        home=options.home, cache=not options.no_cache, priority=options.priority
    ).run(**values)
    try:
        result = run.result()
    except RunFailed as error:
        print(f"\n{error}", file=sys.stderr)
        return FAILED
    if result is not None:
        print(result)
    return SUCCESS


def main(arguments: Optional[List[str]] = None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["--version"]:
        print(__version__)
        return SUCCESS
    if given[:1] != ["run"] or given[1:] in ([], ["-h"], ["--help"]):
        print(
            "usage: trackbed run FILE [PIPELINE] [--PARAMETER VALUE …] [--home FOLDER] [--no-cache]"
            " [--priority INTEGER]\n\nRuns a pipeline of a Python file; `trackbed run FILE PIPELINE --help` has its "
            "parameters.",
            file=sys.stdout if given[1:2] or given[:1] == ["--help"] else sys.stderr,
        )
        return SUCCESS if "-h" in given or "--help" in given else BAD_INPUT
    try:
        return _run(given[1:])
    except KeyboardInterrupt:
        return INTERRUPTED
    except TrackbedError as error:
        print(f"trackbed: {error}", file=sys.stderr)
        return CANCELLED if error.code == "run_cancelled" else BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
