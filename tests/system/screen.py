"""What `trackbed run` draws on a terminal: over what it drew before, within the screen, and nothing
is left of it but the last state of each task."""

import fcntl
import os
import pty
import re
import struct
import sys
import termios

TRACKBED = os.environ["TRACKBED"]
SEQUENCE = re.compile(r"\x1b\[(\??[0-9;]*)([A-Za-z])")


class Screen:
    """As much of a terminal as is used."""

    def __init__(self):
        self.lines = [""]
        self.row = 0
        self.cursor_is_shown = True
        self.colours = set()
        self.highest = 0  # lines that were drawn at a time, and that of the cursor

    def take(self, text):
        at = 0
        while at < len(text):
            sequence = SEQUENCE.match(text, at)
            if sequence:
                self.obey(*sequence.groups())
                at = sequence.end()
                continue
            if text[at] == "\n":
                self.row += 1
                if self.row == len(self.lines):
                    self.lines.append("")
            elif text[at] != "\r":  # it is always the beginning of a line that is drawn anew
                self.lines[self.row] += text[at]
            at += 1

    def obey(self, number, letter):
        if (number, letter) == ("?25", "l"):
            self.cursor_is_shown = False
        elif (number, letter) == ("?25", "h"):
            self.cursor_is_shown = True
        elif (number, letter) == ("2", "K"):
            self.lines[self.row] = ""
        elif letter == "A":
            self.row -= int(number)
            assert self.row >= 0, "it draws above its first line"
        elif letter == "J":
            self.lines[self.row :] = [""]
            self.highest = max(self.highest, self.row + 1)
        elif letter == "m":
            self.colours.add(number)
        else:
            sys.exit(f"an unexpected sequence: {number!r} {letter!r}")

    def __str__(self):
        return "\n".join(self.lines)


class Run:
    """A run on a terminal of that size."""

    def __init__(self, *arguments, rows=24, columns=80, environment=None):
        self.screen = Screen()
        self.pending = b""
        self.process, self.terminal = pty.fork()
        if self.process == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            kept = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
            os.execve(TRACKBED, ["trackbed", *arguments], {**kept, **(environment or {})})

    def read(self):
        """False at the end."""
        try:
            self.pending += os.read(self.terminal, 65536)
        except OSError:  # so Linux says that nobody is there any more
            return False
        # What is drawn is whole once a line has ended.
        drawn, end, self.pending = self.pending.rpartition(b"\n")
        self.screen.take((drawn + end).decode())
        return True

    def until(self, pattern):
        while not re.search(pattern, str(self.screen)):
            if not self.read():
                sys.exit(f"never on the screen: {pattern}\n{self.screen}")

    def end(self, code):
        while self.read():
            pass
        self.screen.take(self.pending.decode())
        found = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        assert found == code, f"exit code {found}, expected {code}\n{self.screen}"
        assert self.screen.cursor_is_shown, "the cursor is gone"
        return str(self.screen)


def expect(screen, *patterns):
    for pattern in patterns:
        if not re.search(pattern, screen, re.MULTILINE):
            sys.exit(f"not on the screen: {pattern}\n{screen}")


def write(name, text):
    with open(name, "w", encoding="utf-8") as file:
        file.write(text)


def all_states():
    write("states.yaml", """
name: states
tasks:
- {name: good, command: 'echo "{\\"n\\": 3}" > "$TRACKBED_OUTPUT"', outputs: {n: integer}}
- {name: wait, command: 'while ! test -e "$GO"; do sleep 0.02; done',
   environment: {GO: %r}, cache: false}
- {name: bad, command: exit 7, cache: false}
- {name: after, command: 'true', dependencies: [bad]}
- {name: ask, approval: {message: 'Go on?'}}
""" % os.path.abspath("go"))
    run = Run("run", "states.yaml")
    run.until("▸ wait .*running")
    run.until(r"\? ask .*waiting .*Go on\?")
    run.until("✗ bad .*failed .*exit code 7")
    run.until("- after .*skipped")
    os.system(f"'{TRACKBED}' reject latest ask --by ada -m 'not now' > /dev/null")
    run.until("✗ ask .*rejected by ada: not now")
    write("go", "")
    screen = run.end(1)
    expect(screen, r"\Arun states-[a-z0-9]+  5 tasks$", "^✓ good .*succeeded .*n=3$",
           "^✓ wait .*succeeded", r"^run states-[a-z0-9]+ failed after .*: 2 succeeded, 2 failed, 1 skipped")
    assert screen.count("good") == 1, f"drawn twice\n{screen}"
    assert {"2", "31", "32", "35", "36", "0"} <= run.screen.colours, run.screen.colours
    # Known by now; and without colour where that is not wanted.
    run = Run("run", "states.yaml", environment={"NO_COLOR": "1"})
    run.until("= good .*cached .*n=3  from run states-")
    run.until(r"\? ask")
    os.write(run.terminal, b"\x03")
    screen = run.end(3)
    expect(screen, "^! ask .*cancelled", r"^run states-[a-z0-9]+ cancelled after ")
    assert not run.screen.colours, run.screen.colours


def more_tasks_than_rows():
    tasks = "".join(f"- {{name: task{i}, command: 'true', cache: false}}\n" for i in range(40))
    write("many.yaml", "name: many\ntasks:\n" + tasks + """
- {name: last-and-with-a-name-that-is-wider-than-a-third-of-this-screen-is, command: exit 1,
   cache: false}
""")
    run = Run("run", "many.yaml", rows=12, columns=60)
    screen = run.end(1)
    # What failed is seen, wherever it stands; the others are counted.
    expect(screen, "^✗ last-and-with-a-nam…  failed", r"^  … 40 succeeded, 1 failed$")
    assert run.screen.highest <= 12, f"{run.screen.highest} lines on a screen of 12"
    drawn = screen.split("\n")
    drawn = drawn[: 1 + next(i for i, line in enumerate(drawn) if line.startswith("  … "))]
    assert len(drawn) == 10, screen
    assert max(map(len, drawn)) < 60, screen


def batches():
    write("map.yaml", """
name: maps
tasks:
- name: each
  command: 'while ! test -e "$GO"; do sleep 0.02; done'
  environment: {GO: %r}
  map: {over: [1, 2, 3]}
  cache: false
""" % os.path.abspath("go2"))
    run = Run("run", "map.yaml")
    run.until("▸ each .*running .*0 of 3 batches done")
    write("go2", "")
    expect(run.end(0), "^✓ each .*succeeded")


def left_alone():
    write("long.yaml", "name: long\ntasks: [{name: sleep, command: sleep 1000}]\n")
    run = Run("run", "long.yaml")
    run.until("▸ sleep")
    os.write(run.terminal, b"\x03")
    run.until("stopping the run; once more leaves it running|cancelled after")
    run.end(3)


all_states()
more_tasks_than_rows()
batches()
left_alone()
