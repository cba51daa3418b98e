"""The library, by ctypes: loading it, its structs, and calls that raise what goes wrong.

Every call lets go of Python's global lock. Names and rules are those of trackbed.h.
"""

from __future__ import annotations

import ctypes
import functools
import os
import pathlib
from ctypes import byref, c_char_p, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Tuple

from .errors import BY_CODE, BuildError, InvalidArgument, NotFound, TrackbedError

if TYPE_CHECKING:
    from ._document import Document

ABI_VERSION = 1
FORMATS = {"auto": 0, "yaml": 1, "json": 2, "protobuf": 3, "fasttrack": 4, "canonical": 5}
GRAPHS = {"text": 0, "dot": 1, "mermaid": 2, "json": 3}
_NAMES = [
    "ok", "cancelled", "unknown", "invalid_argument", "deadline_exceeded", "not_found",
    "already_exists", "permission_denied", "resource_exhausted", "failed_precondition", "aborted",
    "out_of_range", "unimplemented", "internal", "unavailable", "data_loss",
]  # fmt: skip
CODES = {name: number for number, name in enumerate(_NAMES)}


class Text(ctypes.Structure):
    """trackbed_string: text of somebody else's."""

    _fields_ = [("data", c_void_p), ("size", c_size_t)]

    def __str__(self) -> str:
        return ctypes.string_at(self.data, self.size).decode() if self.size else ""


class Bytes(ctypes.Structure):
    """trackbed_bytes: made by the library, to be freed by it."""

    _fields_ = [("data", c_void_p), ("size", c_size_t)]

    def take(self) -> str:
        """The text; it is freed."""
        return self.take_bytes().decode()

    def take_bytes(self) -> bytes:
        found = ctypes.string_at(self.data, self.size) if self.size else b""
        library().raw("bytes_free")(byref(self))
        return found


class Struct(ctypes.Structure):
    """A struct that says its own size."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(struct_size=ctypes.sizeof(self), **fields)


class Diagnostic(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("severity", c_int32), ("file", Text), ("line", c_int32),
        ("column", c_int32), ("path", Text), ("message", Text), ("found", Text), ("expected", Text),
    ]  # fmt: skip


class Slot(ctypes.Structure):
    _fields_ = [("name", Text), ("thousandths", c_int64)]


# What functions take, a letter each: s text and its size, p pointer, i and u 32 bits, q and Q 64,
# z size, e the error. The first letter is what they return: r a status, v nothing.
_SIGNATURES = {
    "version": "c",
    "abi_version": "u",
    "bytes_free": "vp",
    "error_create": "pis",
    "error_code": "rp",
    "error_message": "tp",
    "error_diagnostic_count": "zp",
    "error_diagnostic": "rpzp",
    "error_free": "vp",
    "answer_set": "rps",
    "pipeline_parse": "rsispe",
    "pipeline_load": "rspe",
    "pipeline_validate": "rsispe",
    "pipeline_name": "tp",
    "pipeline_version": "tp",
    "pipeline_write": "rpippe",
    "pipeline_graph": "rpipe",
    "pipeline_tasks": "rppe",
    "pipeline_bind": "rpspe",
    "pipeline_free": "vp",
    "slot_parse": "rsspe",
    "slot_format": "rsqpe",
    "node_detect": "rppe",
    "node_check": "rsispe",
    "mig_models": "rpe",
    "mig_plan": "rspe",
    "slot_allocator_create": "rsippe",
    "slot_allocator_copy": "rppe",
    "slot_allocator_free": "vp",
    "slot_allocator_prepare": "rppzipe",
    "slot_demand_free": "vp",
    "slot_allocator_allocate": "rppppzzpe",
    "slot_allocator_parts": "rpQpzzpe",
    "slot_allocator_release": "rpQe",
    "slot_allocator_explain": "rpppe",
    "slot_allocator_usage": "rppzzpe",
    "slot_allocator_set_healthy": "rpsie",
    "slot_allocator_live_count": "zp",
    "slot_allocator_snapshot": "rppe",
    "slot_allocator_restore": "rpse",
    "engine_open": "rppe",
    "engine_close": "vp",
    "engine_submit": "rppppe",
    "engine_step": "rpe",
    "engine_wake_descriptor": "ip",
    "engine_next_deadline": "qp",
    "engine_poll_timeout": "ip",
    "engine_cancel": "rpse",
    "engine_resume": "rpse",
    "engine_retry": "rpspze",
    "engine_approve": "rpsssse",
    "engine_reject": "rpsssse",
    "engine_is_active": "ips",
    "engine_report": "rppe",
    "engine_list_runs": "rpzpe",
    "engine_show": "rpspe",
    "engine_explain": "rpsspe",
    "engine_why": "rpsspe",
    "engine_read_log": "rpssuQzppe",
    "engine_outputs": "rpssppe",
    "engine_publish_results": "rpsspe",
    "store_check": "rspe",
    "store_backup": "rsspe",
    "events_open": "rpppe",
    "events_next": "rppzzpe",
    "events_next_json": "rpzppe",
    "events_descriptor": "ip",
    "events_close": "vp",
    "cluster_view_size": "zp",
    "cluster_view_fits": "ipupp",
    "cluster_view_node": "rpupp",
    "plan_size": "zp",
    "plan_read": "zpzpzz",
    "plan_next": "qp",
    "plan_free": "vp",
    "scheduler_create": "rppe",
    "scheduler_free": "vp",
    "scheduler_add_node": "rpsppe",
    "scheduler_drain_node": "rpue",
    "scheduler_open_node": "rpue",
    "scheduler_lose_node": "rpuqpe",
    "scheduler_node_name": "tpu",
    "scheduler_node": "rpuppe",
    "scheduler_add_tenant": "rpusppe",
    "scheduler_set_quota": "rpupe",
    "scheduler_find_tenant": "rpspe",
    "scheduler_submit": "rppqe",
    "scheduler_finish": "rpQqe",
    "scheduler_schedule": "rpqpe",
    "scheduler_explain": "rpQqppe",
    "scheduler_predict": "rppqpppe",
    "scheduler_predict_if": "rpppqpppe",
    "scheduler_task_state": "ipQ",
    "scheduler_get_stats": "rppe",
    "scheduler_recount": "rpe",
    "groups_create": "rpe",
    "groups_free": "vp",
    "groups_add_tenant": "rppuspe",
    "groups_set_quota": "rppsupe",
    "groups_add_group": "rppsppe",
    "groups_set_rules": "rppspe",
    "groups_add_node": "rppssppe",
    "groups_set_node_open": "rppssie",
    "groups_usable": "rppipe",
    "groups_submit": "rppspqe",
    "groups_predict": "rppspqpppe",
    "groups_withdraw": "rppsQqe",
    "groups_scheduler": "pps",
    "simulate": "rppppe",
}
_TYPES: Dict[str, Tuple[Any, ...]] = {
    "s": (c_char_p, c_size_t),
    "p": (c_void_p,),
    "e": (c_void_p,),
    "i": (c_int32,),
    "u": (c_uint32,),
    "q": (c_int64,),
    "Q": (c_uint64,),
    "z": (c_size_t,),
}
_RESULTS: Dict[str, Any] = {
    "r": c_int32, "i": c_int32, "u": c_uint32, "q": c_int64, "z": c_size_t, "p": c_void_p,
    "t": Text, "c": c_char_p, "v": None,
}  # fmt: skip


class Library:
    """The loaded library."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._dll = ctypes.CDLL(path)
        self._functions: Dict[str, Any] = {}
        found = self.raw("abi_version")()
        if found < ABI_VERSION:
            raise TrackbedError(
                f"{path} has version {found} of the interface, this package needs {ABI_VERSION}"
            )

    def raw(self, name: str) -> Any:
        """The function trackbed_NAME, to be called as C does."""
        function = self._functions.get(name)
        if function is None:
            signature = _SIGNATURES[name]
            function = getattr(self._dll, "trackbed_" + name)
            function.restype = _RESULTS[signature[0]]
            function.argtypes = [kind for letter in signature[1:] for kind in _TYPES[letter]]
            self._functions[name] = function
        return function

    def call(self, name: str, *arguments: Any) -> Any:
        """Calls trackbed_NAME; raises when it fails. Texts are given as str."""
        signature = _SIGNATURES[name]
        given: List[Any] = []
        for value in arguments:
            if isinstance(value, str):
                data = value.encode()
                given += (data, len(data))
            else:
                given.append(value)
        if not signature.endswith("e"):
            return self.raw(name)(*given)
        error = c_void_p()
        if self.raw(name)(*given, byref(error)) != 0:
            raise self.taken(error)
        return None

    def taken(self, error: c_void_p) -> TrackbedError:
        """An error of the library as an exception; it is freed."""
        if not error.value:
            return TrackbedError("the library failed and did not say why")
        try:
            code = _NAMES[self.raw("error_code")(error)]
            message = str(self.raw("error_message")(error))
            kind = BY_CODE.get(code, TrackbedError)
            if kind is InvalidArgument:
                return InvalidArgument(message, self._diagnostics(error))
            found = kind(message)
            if kind is TrackbedError:
                found.code = code
            return found
        finally:
            self.raw("error_free")(error)

    def _diagnostics(self, error: c_void_p) -> List[Dict[str, Any]]:
        found = []
        for index in range(self.raw("error_diagnostic_count")(error)):
            item = Diagnostic()
            self.raw("error_diagnostic")(error, index, byref(item))
            found.append(
                {
                    "severity": "error" if item.severity == 1 else "warning",
                    "file": str(item.file),
                    "line": item.line,
                    "column": item.column,
                    "path": str(item.path),
                    "message": str(item.message),
                }
            )
        return found

    def error_of(self, error: BaseException) -> Optional[int]:
        """An exception of a callback as an error for the library, which takes it over."""
        code = CODES.get(getattr(error, "code", ""), CODES["internal"])
        text = str(error) if isinstance(error, TrackbedError) else f"{type(error).__name__}: {error}"
        data = text.encode("utf-8", "replace")
        made: Optional[int] = self.raw("error_create")(code, data, len(data))
        return made


@functools.lru_cache(maxsize=None)
def library() -> Library:
    """The library: $TRACKBED_LIBRARY, else the one in this package, else the system's."""
    given = os.environ.get("TRACKBED_LIBRARY")
    inside = pathlib.Path(__file__).parent / "_lib" / "libtrackbed.so"
    candidates = [given] if given else [str(inside)] * inside.exists() + ["libtrackbed.so.0"]
    problems = []
    for path in candidates:
        try:
            return Library(path)
        except OSError as error:
            problems.append(str(error))
    raise NotFound(
        "the library libtrackbed.so is not there: install the wheel for this platform, or name the "
        f"library in $TRACKBED_LIBRARY ({'; '.join(problems)})"
    )


def text(value: str, keep: List[Any]) -> Text:
    """A view of a text that lives as long as `keep`."""
    data = value.encode()
    keep.append(data)
    return Text(ctypes.cast(c_char_p(data), c_void_p).value, len(data))


def slot_array(slots: Mapping[str, Any], keep: List[Any]) -> Any:
    """Amounts by name, as "16g" or 0.5, as the library takes them."""
    array = (Slot * max(1, len(slots)))()
    for item, (name, amount) in zip(array, slots.items()):
        item.name = text(name, keep)
        if isinstance(amount, (int, float)) and not isinstance(amount, bool) and name != "mem":
            item.thousandths = round(amount * 1000)
            continue
        parsed = c_int64()
        library().call("slot_parse", name, str(amount), byref(parsed))
        item.thousandths = parsed.value
    keep.append(array)
    return array


def bytes_of(name: str, *arguments: Any) -> str:
    """Calls a function whose last out parameter is text."""
    out = Bytes()
    library().call(name, *arguments, byref(out))
    return out.take()


class NativePipeline:
    """A checked pipeline in the library."""

    def __init__(self, handle: c_void_p) -> None:
        self.handle = handle

    @classmethod
    def of_document(cls, document: "Document") -> "NativePipeline":
        """Checks a pipeline that was put together; mistakes name the line of the task."""
        try:
            return cls.parse(document.json(), "json", "")
        except InvalidArgument as error:
            raise _placed(error, document) from None

    @classmethod
    def parse(cls, content: str, form: str = "auto", file: str = "") -> "NativePipeline":
        handle = c_void_p()
        library().call("pipeline_parse", content, FORMATS[form], file, byref(handle))
        return cls(handle)

    @classmethod
    def load(cls, path: str) -> "NativePipeline":
        handle = c_void_p()
        library().call("pipeline_load", path, byref(handle))
        return cls(handle)

    @property
    def version(self) -> str:
        return str(library().raw("pipeline_version")(self.handle))

    def write(self, form: str) -> str:
        out = Bytes()
        library().call("pipeline_write", self.handle, FORMATS[form], byref(out), None)
        return out.take()

    def graph(self, form: str) -> str:
        return bytes_of("pipeline_graph", self.handle, GRAPHS[form])

    def __enter__(self) -> "NativePipeline":
        return self

    def __exit__(self, *_: object) -> None:
        library().raw("pipeline_free")(self.handle)
        self.handle = c_void_p()


def _placed(error: InvalidArgument, document: "Document") -> BuildError:
    lines = []
    for found in error.diagnostics:
        path = found["path"]
        place = name = ""
        if path.startswith("tasks["):
            number, _, rest = path[len("tasks[") :].partition("]")
            place = f"{document.places[int(number)]}: "
            name = f'task "{document.fields["tasks"][int(number)]["name"]}"{rest}: '
        elif path:
            name = path + ": "
        lines.append(place + name + found["message"])
    return BuildError("\n".join(lines) or str(error), error.diagnostics)

