#!/usr/bin/env python3
"""Shows whether the tests notice when the allocator or the scheduler is wrong.

usage: mutate.py [--seconds N] [--sample N] [--seed N] [--longest S] [--again] [--keep-killed] [FILE...]

Makes mutants of FILE (all files of MUTATED unless given): comparisons flipped at their boundary,
conditions negated, clauses of conditions left out, arithmetic turned round, numbers one too large,
statements dropped, results inverted. All mutants of a layer are compiled into one copy of its test
program, in which MUTANT=NUMBER chooses one; so a mutant costs no more than the tests that come by
it, the quick ones first. A mutant is killed when a test fails, crashes or does not end.

A sample stays the same while code around it changes: it is drawn by the names of the mutants.

What is known is kept in build/mutation and not tried again while neither the file nor the tests
have changed; --again forgets it. With --keep-killed, what was killed counts as killed while the file
has not changed: for tests that were added, not for tests that were changed.

What survives and is in survivors.txt as "equal" or "slower" no test can notice: two shares are
given, of all that were tried and of those that could be noticed. Exit code 1: the latter is less
than promised (FLOOR).
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import resource
import shlex
import signal
import subprocess
import sys
import time

import clang.cindex as cindex

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HERE = pathlib.Path(__file__).resolve().parent
BUILD = ROOT / "build" / "release"
WORK = ROOT / "build" / "mutation"
COMPILER = "clang++-19"
FLOOR = 85.0  # per cent
VERDICTS = ("equal", "slower", "elsewhere", "open")  # of survivors.txt, which says what they mean
MUTATED = {
    "resources": ["slot_allocator", "slot_placement", "connected_set", "slot_algebra"],
    "scheduling": [
        "scheduler", "look_ahead", "victims", "tenancy", "cluster", "node_room", "wait_reason",
    ],
}
# Random stories are as long as it takes to see most, not as long as for a release.
ENVIRONMENT = {"TRACKBED_SCHEDULER_STEPS": "30000"}

BINARY = {
    "<": "Less", "<=": "LessEqual", ">": "Greater", ">=": "GreaterEqual", "==": "Equal",
    "!=": "NotEqual", "+": "Plus", "-": "Minus", "*": "Times", "/": "Divide", "%": "Remainder",
    "&": "And", "|": "Or", "+=": "AddTo", "-=": "TakeFrom", "*=": "MultiplyBy", "|=": "OrTo",
}
OTHER = {
    "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "+": "-", "-": "+",
    "*": "/", "/": "*", "%": "*", "&": "|", "|": "&", "+=": "-=", "-=": "+=", "*=": "/=",
    "|=": "&=",
}
Kind = cindex.CursorKind
FUNCTIONS = (
    Kind.FUNCTION_DECL, Kind.CXX_METHOD, Kind.CONSTRUCTOR, Kind.DESTRUCTOR, Kind.FUNCTION_TEMPLATE,
    Kind.CONVERSION_FUNCTION,
)


class Mutant:
    """One change: text is put before and after a part of the source, or in place of an operator."""

    def __init__(self, function, kind, begin, end, what, prefix, suffix, replaced=None):
        self.function, self.kind, self.begin, self.end = function, kind, begin, end
        self.what, self.prefix, self.suffix, self.replaced = what, prefix, suffix, replaced
        self.number = 0
        self.name = ""  # without line and number: see name_all


class Finder:
    """The mutants of a file, from clang's tree of it."""

    def __init__(self, file, arguments):
        self.file = str(file)
        self.source = pathlib.Path(file).read_bytes()
        unit = cindex.Index.create().parse(self.file, args=arguments)
        errors = [d for d in unit.diagnostics if d.severity >= cindex.Diagnostic.Error]
        if errors:
            sys.exit(f"mutate.py: {errors[0]}")
        self.found, self.seen, self.function = [], set(), ""
        for cursor in unit.cursor.get_children():
            location = cursor.location
            if location.file and location.file.name == self.file:
                self.visit(cursor, False)

    def text(self, begin, end):
        return self.source[begin:end].decode()

    def extent(self, cursor):
        return cursor.extent.start.offset, cursor.extent.end.offset

    def add(self, kind, begin, end, prefix, suffix, what=None, replaced=None):
        if self.source.startswith(b"TRACKBED_", begin):
            return  # of a macro
        if what is None:
            what = " ".join(self.text(begin, end).split())
        if len(what) > 70:
            what = what[:67] + "..."
        if (kind, begin, end, prefix) in self.seen:
            return  # clang shows the body of a lambda twice
        self.seen.add((kind, begin, end, prefix))
        self.found.append(
            Mutant(self.function, kind, begin, end, what, prefix, suffix, replaced))

    def visit(self, cursor, inside):
        """inside: the body of a function, where there is something to run."""
        kind = cursor.kind
        children = list(cursor.get_children())
        if kind in (Kind.STATIC_ASSERT, Kind.TYPE_REF, Kind.TEMPLATE_REF, Kind.CASE_STMT):
            children = children[1:] if kind == Kind.CASE_STMT else []
        tokens_start = self.text(*self.extent(cursor))[:24] if inside else ""
        if kind == Kind.DECL_STMT and re.match(r"(static )?constexpr\b", tokens_start):
            return
        if inside:
            self.mutate(cursor, kind, children)
        elif kind in FUNCTIONS:
            parent = cursor.semantic_parent
            owner = f"{parent.spelling}::" if parent.kind in (
                Kind.CLASS_DECL, Kind.STRUCT_DECL) else ""
            self.function = owner + cursor.spelling
        for child in children:
            if kind in (Kind.DECL_REF_EXPR, Kind.MEMBER_REF_EXPR) and \
                    child.kind == Kind.INTEGER_LITERAL:
                continue  # an argument of a template
            self.visit(child, inside or kind in FUNCTIONS and child.kind == Kind.COMPOUND_STMT)

    def mutate(self, cursor, kind, children):
        begin, end = self.extent(cursor)
        if kind == Kind.COMPOUND_STMT:
            for place, child in enumerate(children):
                self.drop(child, place + 1 == len(children))
        elif kind == Kind.IF_STMT:
            conditions = [c for c in children if c.kind.is_expression()]
            if conditions and children[0].kind != Kind.VAR_DECL:
                self.negate(conditions[0])
            for child in children:
                if child.kind != Kind.COMPOUND_STMT:
                    self.drop(child, False)
        elif kind in (Kind.FOR_STMT, Kind.WHILE_STMT, Kind.CXX_FOR_RANGE_STMT):
            if children[-1].kind != Kind.COMPOUND_STMT:
                self.drop(children[-1], False)
            if kind == Kind.WHILE_STMT and children[0].kind.is_expression():
                self.negate(children[0])
        elif kind == Kind.CONDITIONAL_OPERATOR:
            self.negate(children[0])
        elif kind == Kind.RETURN_STMT and children and self.type_of(children[0]) == "bool":
            self.negate(children[0])
        elif kind == Kind.INTEGER_LITERAL:
            if re.fullmatch(r"[0-9']+[uUlL]*", self.text(begin, end)):
                self.add("number", begin, end, "::mutant::Next(@, ", ")")
        elif kind == Kind.CXX_BOOL_LITERAL_EXPR:
            self.add("inverted", begin, end, "(::mutant::Is(@) != ", ")")
        if kind in (Kind.BINARY_OPERATOR, Kind.COMPOUND_ASSIGNMENT_OPERATOR, Kind.CALL_EXPR):
            self.binary(kind, children, begin, end)

    def type_of(self, cursor):
        return cursor.type.get_canonical().spelling.replace("const ", "")

    def binary(self, kind, children, begin, end):
        if kind == Kind.CALL_EXPR:
            if len(children) != 3:
                return
            children = sorted(children, key=lambda c: self.extent(c))
            if not re.fullmatch(r"operator[^a-z]+", children[1].spelling):
                return
            children = [children[0], children[2]]
        if len(children) != 2:
            return
        left, right = self.extent(children[0]), self.extent(children[1])
        if not begin <= left[0] < left[1] <= right[0] < right[1] <= end:
            return
        between = self.text(left[1], right[0])
        op = between.strip()
        at = left[1] + len(between) - len(between.lstrip())
        if op in BINARY:
            what = self.text(begin, end)
            self.add("operator", left[0], right[1], f"::mutant::{BINARY[op]}(@, ", ")",
                     f"{' '.join(what.split())[:60]}   {op} -> {OTHER[op]}",
                     (at, at + len(op), ","))
        elif op in ("&&", "||"):
            for part in (left, right):
                if op == "&&":
                    self.add("clause", *part, "(::mutant::Is(@) || static_cast<bool>(", "))")
                else:
                    self.add("clause", *part, "(!::mutant::Is(@) && static_cast<bool>(", "))")

    def negate(self, cursor):
        begin, end = self.extent(cursor)
        if re.fullmatch(r"[^&|?]*[^<>=!](==|!=)[^&|?]*", self.text(begin, end)):
            return  # flipping the comparison is the same
        if self.text(begin, end) in ("true", "false"):
            return
        self.add("negated", begin, end, "(::mutant::Is(@) != static_cast<bool>(", "))")

    def drop(self, cursor, last):
        kind = cursor.kind
        begin, end = self.extent(cursor)
        if kind == Kind.NULL_STMT or not (kind.is_expression() or kind in (
                Kind.BREAK_STMT, Kind.CONTINUE_STMT, Kind.RETURN_STMT)):
            return
        if last and kind == Kind.RETURN_STMT:
            return  # the end of a function, or of a branch which then goes on: see below
        rest = self.source[end:end + 8].decode(errors="ignore")
        semicolon = rest.find(";")
        if semicolon < 0 or rest[:semicolon].strip():
            return  # within a macro, or a condition
        if self.source[:begin].rstrip()[-1:] not in (b";", b"{", b"}", b")", b":") and \
                not self.source[:begin].rstrip().endswith((b"else", b"do")) and \
                b"//" not in self.source[:begin].rsplit(b"\n", 2)[-2]:
            return
        self.add("dropped", begin, end + semicolon + 1, "{ if (!::mutant::Is(@)) { ", " } }")


def mutated_text(source, mutants):
    """The source with all mutants in it, and where each of its positions was before."""
    before, after, replace = {}, {}, {}
    # Of equal parts the first found is the outer one.
    for order, mutant in enumerate(mutants):
        size = mutant.end - mutant.begin
        prefix = mutant.prefix.replace("@", str(mutant.number))
        before.setdefault(mutant.begin, []).append(((-size, order), prefix))
        after.setdefault(mutant.end, []).append(((size, -order), mutant.suffix))
        if mutant.replaced:
            replace[mutant.replaced[0]] = mutant.replaced
    pieces, places, length = [], [], 0

    def put(text, origin):
        nonlocal length
        pieces.append(text)
        places.append((length, origin))
        length += len(text)

    position = 0
    cuts = sorted({0, len(source), *before, *after, *replace, *(r[1] for r in replace.values())})
    for cut in cuts:
        if position < cut:
            if position in replace:
                put(replace[position][2].encode(), position)
            else:
                put(source[position:cut], position)
            position = cut
        for _, text in sorted(after.get(cut, [])):
            put(text.encode(), cut)
        for _, text in sorted(before.get(cut, [])):
            put(text.encode(), cut)
    return b"".join(pieces), places


def origin_of(text, places, line, column):
    """Where in the source that is which the compiler calls so in the mutated text."""
    offset = sum(len(each) + 1 for each in text.split(b"\n")[: line - 1]) + column - 1
    start, origin = max(place for place in places if place[0] <= offset)
    return origin + offset - start


def name_all(file, mutants):
    """By which survivors.txt knows them: "FILE: FUNCTION: KIND: WHAT", alike ones numbered."""
    times = {}
    for mutant in sorted(mutants, key=lambda m: (m.begin, m.end)):
        name = f"{file}: {mutant.function}: {mutant.kind}: {mutant.what}"
        times[name] = times.get(name, 0) + 1
        mutant.name = name if times[name] == 1 else f"{name} [{times[name]}]"


def command_of(file):
    for entry in json.loads((BUILD / "compile_commands.json").read_text()):
        if pathlib.Path(entry["file"]) == file:
            words = shlex.split(entry["command"])
            kept = [w for w in words if w.startswith(("-I", "-D", "-std", "-f")) or w == "-isystem"
                    or words[words.index(w) - 1] == "-isystem"]
            return kept
    sys.exit(f"mutate.py: {file} is not built by {BUILD}: ./dev build-preset release")


FIRST_LINES = b'#include "mutation/mutant.hpp"\n#line 1\n'


def already_compiled(target, result, mutants, source):
    """The mutants of an earlier call that was interrupted, if nothing has changed since."""
    if not target.exists() or not result.exists():
        return None
    made = result.stat().st_mtime
    if made < target.stat().st_mtime or made < (HERE / "mutant.hpp").stat().st_mtime:
        return None
    text = target.read_bytes()
    there = {int(n) for n in re.findall(rb"::mutant::\w+\((\d+)", text)}
    kept = [m for m in mutants if m.number in there]
    return kept if FIRST_LINES + mutated_text(source, kept)[0] == text else None


def compile_mutants(layer, name, mutants, source):
    """Takes out what does not compile; returns the object file."""
    file = ROOT / "src" / layer / f"{name}.cc"
    target, result = WORK / f"{layer}_{name}.cc", WORK / f"{layer}_{name}.o"
    kept = already_compiled(target, result, mutants, source)
    if kept is not None:
        return kept, result
    tried = list(mutants)
    # The sanitizers, with which CI runs the same tests, see who reads behind a table; here it is
    # the library's own assertions.
    compiler = [COMPILER, *command_of(file), "-I", str(ROOT / "tests"), "-w", "-O1",
                "-D_GLIBCXX_ASSERTIONS", "-ferror-limit=0"]
    for _ in range(60):
        text, places = mutated_text(source, tried)
        target.write_bytes(FIRST_LINES + text)
        done = subprocess.run([*compiler, "-fsyntax-only", str(target)],
                              capture_output=True, text=True, check=False)
        if done.returncode == 0:
            subprocess.run([*compiler, "-c", str(target), "-o", str(result)], check=True)
            return tried, result
        bad = set()
        for at in re.finditer(rf"^{re.escape(str(target))}:(\d+):(\d+): (error|note)",
                              done.stderr, re.M):
            offset = origin_of(text, places, int(at[1]), int(at[2]))
            around = [m for m in tried if m.begin <= offset <= m.end] or \
                [m for m in tried if source.count(b"\n", 0, m.begin) + 1 == int(at[1])]
            if around:
                bad.add(min(around, key=lambda m: m.end - m.begin).number)
        if not bad:
            sys.exit(f"mutate.py: {file} with mutants does not compile:\n{done.stderr[:3000]}")
        tried = [m for m in tried if m.number not in bad]
    sys.exit(f"mutate.py: {file} with mutants does not compile")


def link(layer, objects):
    program = WORK / f"{layer}_test"
    target = f"trackbed_{layer}_test"
    runtime = WORK / "runtime.o"
    text = b"".join((HERE / n).read_bytes() for n in ("runtime.cc", "mutant.hpp"))
    stamp = WORK / "runtime.sha"
    if not runtime.exists() or not stamp.exists() or \
            stamp.read_text() != hashlib.sha256(text).hexdigest():
        subprocess.run([COMPILER, "-std=c++20", "-O1", "-w", "-fPIC", "-I", str(ROOT / "tests"),
                        "-c", str(HERE / "runtime.cc"), "-o", str(runtime)], check=True)
        stamp.write_text(hashlib.sha256(text).hexdigest())
    lines = subprocess.run(["ninja", "-C", str(BUILD), "-t", "commands", target],
                           capture_output=True, text=True, check=True).stdout
    words = shlex.split(lines.strip().splitlines()[-1])
    words = words[2:] if words[:2] == [":", "&&"] else words
    words = words[: words.index("&&")] if "&&" in words else words
    place = words.index("-o")
    words[place + 1] = str(program)
    words[place:place] = [str(o) for o in objects] + [str(runtime)]
    subprocess.run(words, cwd=BUILD, check=True)
    return program


def limits(seconds):
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Of the processor, not of the clock: a busy machine kills no mutant.
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 1))


def run_tests(program, names, seconds, **environment):
    escaped = [re.sub(r"([,\[\]\\*~])", r"\\\1", name) for name in names]
    # Options of one call are few and short; of test names there may be many.
    try:
        done = subprocess.run(
            [str(program), ",".join(escaped), "--abort"], cwd=WORK, timeout=100 + 20 * seconds,
            env={**os.environ, **ENVIRONMENT, **environment},
            preexec_fn=lambda: limits(seconds),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    except subprocess.TimeoutExpired:
        return "does not end"
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return "does not end"
    if done.returncode < 0:
        return f"signal {-done.returncode}"
    return f"exit code {done.returncode}" if done.returncode else ""


def tests_of(program):
    """Of each test: how long it takes, and by which mutants it comes."""
    made, notes = digest(program.read_bytes(), ENVIRONMENT), WORK / f"{program.name}.reached"
    stamp = WORK / f"{program.name}.reached.sha"
    if not stamp.exists() or stamp.read_text() != made:
        notes.unlink(missing_ok=True)
        done = subprocess.run([str(program)], cwd=WORK, capture_output=True, text=True, check=False,
                              env={**os.environ, **ENVIRONMENT, "REACHED": str(notes)})
        if done.returncode:
            sys.exit(f"mutate.py: {program} fails without a mutant:\n{done.stdout[-3000:]}")
        stamp.write_text(made)
    tests = []
    for line in notes.read_text().splitlines():
        seconds, numbers, name = line.split(" ", 2)
        tests.append((float(seconds), {int(n) for n in numbers.split(",")}, name))
    return sorted(tests, key=lambda t: t[0])


def try_mutant(program, tests, mutant):
    reaching = [(seconds, name) for seconds, numbers, name in tests if mutant.number in numbers]
    if not reaching:
        return "survived", "no test comes by"
    # Quick tests together: a program takes some time to start.
    groups = [[t for t in reaching if t[0] <= 0.01], [t for t in reaching if 0.01 < t[0] <= 0.1]]
    groups += [[t] for t in reaching if t[0] > 0.1]
    for group in groups:
        if not group:
            continue
        seconds = 3 + 20 * sum(t[0] for t in group)
        how = run_tests(program, [name for _, name in group], seconds, MUTANT=str(mutant.number))
        if how:
            return "killed", how
    return "survived", ""


def digest(*parts):
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part if isinstance(part, bytes) else str(part).encode())
        whole.update(b"\0")
    return whole.hexdigest()[:24]


def tests_digest(layer):
    files = sorted((ROOT / "tests" / layer).glob("*_test.cc")) + [HERE / "mutant.hpp"]
    return digest(*(f.read_bytes() for f in files))


def judged():
    """What survivors.txt says of mutants: the first word of its reason."""
    found, names = {}, []
    for line in (HERE / "survivors.txt").read_text().splitlines():
        if line.startswith("  "):
            for name in names:
                found[name] = line.split(":")[0].strip()
            names = []
        elif line and not line.startswith("#"):
            names.append(line)
    wrong = set(found.values()) - set(VERDICTS)
    if wrong or names:
        sys.exit(f"mutate.py: survivors.txt: found {wrong or names}, expected one of {VERDICTS}")
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--sample", type=int, default=0, help="so many of each layer, chosen by seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--longest", type=float, default=1e9,
                        help="without tests that take longer, in seconds of the processor: what then "
                        "survives might not with them")
    parser.add_argument("--keep-killed", action="store_true",
                        help="believe that what was killed before tests were added still is")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + options.seconds
    verdicts = judged()
    wanted = {pathlib.Path(f).stem for f in options.files}
    known_file = WORK / "known.json"
    known = {} if options.again or not known_file.exists() else json.loads(known_file.read_text())
    totals = {"killed": 0, "survived": 0, "not compiled": 0, "not tried": 0}
    survivors = []
    for layer, names in MUTATED.items():
        names = [n for n in names if not wanted or n in wanted]
        if not names:
            continue
        number, objects, mutants = 0, [], []
        for name in names:
            file = ROOT / "src" / layer / f"{name}.cc"
            finder = Finder(file, [*command_of(file), "-I/usr/lib/llvm-19/lib/clang/19/include"])
            for mutant in finder.found:
                number += 1
                mutant.number = number
                mutant.line = finder.source[: mutant.begin].count(b"\n") + 1
                mutant.key = digest(finder.source, mutant.begin, mutant.end, mutant.kind,
                                    mutant.prefix.replace("@", ""))
            name_all(f"src/{layer}/{name}.cc", finder.found)
            names_found = {m.name for m in finder.found}
            for judged_name in verdicts:
                if judged_name.startswith(f"src/{layer}/{name}.cc:") and \
                        judged_name not in names_found:
                    print(f"survivors.txt names what is not there: {judged_name}")
            compiled, result = compile_mutants(layer, name, finder.found, finder.source)
            totals["not compiled"] += len(finder.found) - len(compiled)
            objects.append(result)
            mutants += compiled
        program = link(layer, objects)
        tests = [t for t in tests_of(program) if t[0] <= options.longest]
        mutants.sort(key=lambda m: digest(options.seed, m.name))
        if options.sample:
            mutants = mutants[: options.sample]
        print(f"{layer}: {len(mutants)} mutants, {len(tests)} tests", flush=True)

        stamp = digest(tests_digest(layer), options.longest, ENVIRONMENT)

        def judge(mutant):
            verdict, how, by = known.get(mutant.key, ("", "", ""))
            if verdict and (by == stamp or (options.keep_killed and verdict == "killed")):
                return mutant, (verdict, how)
            if time.monotonic() > deadline:
                return mutant, None
            return mutant, try_mutant(program, tests, mutant)

        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            for place, (mutant, verdict) in enumerate(pool.map(judge, mutants)):
                if verdict is None:
                    totals["not tried"] += 1
                    continue
                known[mutant.key] = (*verdict, stamp)
                totals[verdict[0]] += 1
                if verdict[0] == "survived":
                    survivors.append((mutant, verdict[1]))
                elif mutant.name in verdicts:
                    print(f"survivors.txt names what is killed: {mutant.name}")
                if place % 20 == 19:
                    known_file.write_text(json.dumps(known))
        known_file.write_text(json.dumps(known))
    counts = dict.fromkeys((*VERDICTS, "not judged"), 0)
    report = []
    for mutant, note in sorted(survivors, key=lambda s: (s[0].name.split(":")[0], s[0].line)):
        verdict = verdicts.get(mutant.name, "not judged")
        counts[verdict] += 1
        report.append(f"{mutant.line}: {mutant.name}{' (' + note + ')' if note else ''}: {verdict}")
    (WORK / "survivors.txt").write_text("\n".join(report) + "\n")
    for line in report:
        print(line)
    killed, tried = totals["killed"], totals["killed"] + totals["survived"]
    noticeable = tried - counts["equal"] - counts["slower"]
    share = 100.0 * killed / max(noticeable, 1)
    print(f"{tried} mutants tried: {killed} killed, {100.0 * killed / max(tried, 1):.1f} %, of those "
          f"that a test can notice {share:.1f} %; {totals['survived']} survived: "
          + ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
          + f"; {totals['not compiled']} do not compile, {totals['not tried']} not tried")
    return 1 if tried and share < FLOOR else 0


if __name__ == "__main__":
    sys.exit(main())
