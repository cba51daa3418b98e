#!/usr/bin/env python3
"""Trackbed in one process with others that bring the same libraries: coexist.py SCENARIO.

$LIBRARY is libtrackbed.so, $SUPERVISOR its helper program, $MODE `system` or `bundled`, $CC a C
compiler, $WORK a folder. Exit code 77: what the scenario needs is not installed.
"""

import ctypes
import os
import pathlib
import re
import shutil
import subprocess
import sys

LIBRARY = os.environ["LIBRARY"]
SUPERVISOR = os.environ["SUPERVISOR"]
MODE = os.environ["MODE"]
WORK = pathlib.Path(os.environ["WORK"])

TERMINATED = ctypes.c_size_t(-1)
YAML, PROTOBUF = 1, 3
FAILED_PRECONDITION = 9
PIPELINE = b"""\
name: coexist
parameters: {word: hello}
tasks:
- name: one
  command: echo n=3 >> "$TRACKBED_OUTPUT"; echo ${{ params.word }}
  outputs: {n: integer}
- name: two
  command: echo two ${{ tasks.one.outputs.n }}
  dependencies: [one]
"""


class Bytes(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class Text(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char_p), ("size", ctypes.c_size_t)]


class EngineOptions(ctypes.Structure):
    """Its beginning: a caller may know no more."""

    _fields_ = [
        ("struct_size", ctypes.c_uint32), ("in_memory", ctypes.c_int32), ("home", Text),
    ]  # fmt: skip


class Trackbed:
    def __init__(self, path: str, mode: int = ctypes.DEFAULT_MODE) -> None:
        self.library = ctypes.CDLL(path, mode)
        self.library.trackbed_error_message.restype = Text
        self.library.trackbed_pipeline_version.restype = Text
        for function in ("pipeline_free", "engine_close", "error_free"):
            getattr(self.library, f"trackbed_{function}").restype = None

    def call(self, name: str, *arguments: object) -> None:
        error = ctypes.c_void_p()
        status = getattr(self.library, f"trackbed_{name}")(*arguments, ctypes.byref(error))
        if status != 0:
            message = self.library.trackbed_error_message(error)
            text = message.data.decode()
            self.library.trackbed_error_free(error)
            raise RuntimeError(f"{name}: {status}: {text}")

    def take(self, filled: Bytes) -> bytes:
        data = ctypes.string_at(filled.data, filled.size)
        self.library.trackbed_bytes_free(ctypes.byref(filled))
        return data

    def parse(self, document: bytes, form: int) -> ctypes.c_void_p:
        pipeline = ctypes.c_void_p()
        self.call(
            "pipeline_parse", document, ctypes.c_size_t(len(document)), form, b"p", TERMINATED,
            ctypes.byref(pipeline),
        )  # fmt: skip
        return pipeline

    def version(self, pipeline: ctypes.c_void_p) -> bytes:
        text = self.library.trackbed_pipeline_version(pipeline)
        return ctypes.string_at(text.data, text.size)

    def use(self, name: str) -> None:
        """YAML, protobuf, hashes, SQLite: all that is inside works, and gives what it should."""
        pipeline = self.parse(PIPELINE, YAML)
        wire = Bytes()
        self.call(
            "pipeline_write", pipeline, PROTOBUF, ctypes.byref(wire), None,
        )  # fmt: skip
        again = self.parse(self.take(wire), PROTOBUF)
        assert self.version(pipeline) == self.version(again)
        assert self.version(pipeline).startswith(b"sha256:")
        try:
            self.parse(PIPELINE.replace(b"outputs:", b"output:"), YAML)
            raise AssertionError("an unknown field was accepted")
        except RuntimeError as refused:
            assert "output" in str(refused), refused
        engine = self.open(WORK / name)
        run = Bytes()
        self.call("engine_submit", engine, pipeline, None, ctypes.byref(run))
        run_name = self.take(run)
        self.call(
            "engine_wait", engine, run_name, TERMINATED, ctypes.c_int64(-1), None,
        )  # fmt: skip
        outputs = Bytes()
        self.call(
            "engine_outputs", engine, run_name, TERMINATED, b"one", TERMINATED,
            ctypes.byref(outputs), None,
        )  # fmt: skip
        assert self.take(outputs) == b'{"n":3}'
        self.library.trackbed_engine_close(engine)
        self.library.trackbed_pipeline_free(pipeline)
        self.library.trackbed_pipeline_free(again)

    def open(self, home: pathlib.Path) -> ctypes.c_void_p:
        folder = str(home).encode()
        options = EngineOptions(ctypes.sizeof(EngineOptions), 0, Text(folder, len(folder)))
        engine = ctypes.c_void_p()
        self.call("engine_open", ctypes.byref(options), ctypes.byref(engine))
        return engine


def skip(why: str) -> None:
    print(why)
    sys.exit(77)


class Others:
    """Debian's protobuf for Python, in C++, and gRPC, which has an Abseil of its own inside."""

    def __init__(self) -> None:
        try:
            import grpc
            from google.protobuf import struct_pb2
            from google.protobuf.internal import api_implementation
        except ImportError as missing:
            skip(f"{missing}")
        if api_implementation.Type() != "cpp":
            skip(f"protobuf for Python is of the kind {api_implementation.Type()!r}, not cpp")
        self.grpc, self.struct_pb2 = grpc, struct_pb2

    def use(self) -> None:
        made = self.struct_pb2.Struct()
        made.update({"a": [1, {"b": "text" * 100}], "c": None})
        read = self.struct_pb2.Struct.FromString(made.SerializeToString())
        assert read == made and read["a"][1]["b"] == "text" * 100
        # A call through a server of our own, with messages as they go over the wire.
        from concurrent import futures

        handler = self.grpc.method_handlers_generic_handler(
            "test.Echo",
            {
                "Say": self.grpc.unary_unary_rpc_method_handler(
                    lambda request, context: request,
                    request_deserializer=self.struct_pb2.Struct.FromString,
                    response_serializer=self.struct_pb2.Struct.SerializeToString,
                )
            },
        )
        server = self.grpc.server(futures.ThreadPoolExecutor(1))
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with self.grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            say = channel.unary_unary(
                "/test.Echo/Say", request_serializer=self.struct_pb2.Struct.SerializeToString,
                response_deserializer=self.struct_pb2.Struct.FromString,
            )  # fmt: skip
            assert say(made, timeout=60) == made
        server.stop(None).wait()


def others_first() -> None:
    others = Others()
    others.use()
    trackbed = Trackbed(LIBRARY)
    trackbed.use("one")
    others.use()
    trackbed.use("two")


def others_last() -> None:
    trackbed = Trackbed(LIBRARY)
    trackbed.use("one")
    others = Others()
    others.use()
    trackbed.use("two")
    others.use()


def twice() -> None:
    copy = WORK / "libanother.so"
    shutil.copyfile(LIBRARY, copy)
    first, second = Trackbed(LIBRARY), Trackbed(str(copy))
    assert first.library._handle != second.library._handle
    first.use("first")
    second.use("second")
    first.use("first again")
    # What one has made, the other does not know, but reads.
    pipeline = first.parse(PIPELINE, YAML)
    assert first.version(pipeline) == second.version(second.parse(PIPELINE, YAML))


def hostile() -> None:
    """Every function of the libraries inside exists once more, global, in another library."""
    options = ["-D", "--undefined-only"] if MODE == "system" else ["--defined-only"]
    listing = subprocess.run(
        ["nm", *options, LIBRARY], check=True, capture_output=True, text=True
    ).stdout
    theirs = re.compile(r"_ZT?[NKV]*(4absl|6google8protobuf|4YAML)\w*|(sqlite3|SHA256)_\w+")
    names = {line.split()[-1].partition("@")[0] for line in listing.splitlines()}
    names = sorted(n for n in names if theirs.fullmatch(n) and not n.startswith("_ZT"))
    assert len(names) > 50, names
    source = '#include <stdio.h>\n#include <stdlib.h>\nvoid caught(void) {\n' \
        '  fputs("a function of the hostile library was called\\n", stderr);\n  abort();\n}\n'  # fmt: skip
    source += "".join(f'void {n}(void) __attribute__((alias("caught")));\n' for n in names)
    (WORK / "hostile.c").write_text(source)
    subprocess.run(
        [os.environ["CC"], "-w", "-shared", "-fPIC", "hostile.c", "-o", "libhostile.so"], cwd=WORK,
        check=True,
    )  # fmt: skip
    print(f"{len(names)} functions")
    ctypes.CDLL(str(WORK / "libhostile.so"), ctypes.RTLD_GLOBAL)
    # Linked to shared libraries the host has to ask for it; with all inside it holds by itself.
    mode = ctypes.DEFAULT_MODE | (os.RTLD_DEEPBIND if MODE == "system" else 0)
    Trackbed(LIBRARY, mode).use("one")


def unloaded() -> None:
    loader = ctypes.CDLL(None)
    loader.dlclose.argtypes = [ctypes.c_void_p]
    used = Trackbed(LIBRARY)
    used.use("one")
    address = ctypes.cast(used.library.trackbed_version, ctypes.c_void_p).value
    assert loader.dlclose(used.library._handle) == 0
    again = Trackbed(LIBRARY)
    # It was kept: whatever a host forgot to give back, or the end of a thread, finds its code.
    assert ctypes.cast(again.library.trackbed_version, ctypes.c_void_p).value == address
    again.use("two")


def forked() -> None:
    trackbed = Trackbed(LIBRARY)
    trackbed.use("one")
    engine = trackbed.open(WORK / "parent")
    pipeline = trackbed.parse(PIPELINE, YAML)
    run = Bytes()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            refused = ""
            try:
                trackbed.call("engine_submit", engine, pipeline, None, ctypes.byref(run))
            except RuntimeError as error:
                refused = str(error)
            assert refused.startswith(f"engine_submit: {FAILED_PRECONDITION}: "), refused
            trackbed.library.trackbed_engine_close(engine)
            assert trackbed.version(pipeline).startswith(b"sha256:")  # plain memory works
            trackbed.use("child")  # and an engine of its own
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    # The parent's went on, and its store is its own.
    trackbed.call("engine_submit", engine, pipeline, None, ctypes.byref(run))
    trackbed.call(
        "engine_wait", engine, trackbed.take(run), TERMINATED, ctypes.c_int64(-1), None,
    )  # fmt: skip
    trackbed.library.trackbed_engine_close(engine)


def main() -> None:
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    os.environ["TRACKBED_SUPERVISOR"] = SUPERVISOR
    scenarios = {
        f.__name__: f for f in (others_first, others_last, twice, hostile, unloaded, forked)
    }
    scenarios[sys.argv[1]]()
    print("fine")


if __name__ == "__main__":
    main()
