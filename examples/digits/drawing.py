"""Draws a confusion matrix as a PNG file with nothing but numpy and zlib.

Letters are strokes: their points lie on a grid with x from 0 to 8 and y from 0 (top) to c (12,
the line that letters stand on), written as pairs of digits in base 36. A stroke that starts with
"~" is a smooth curve through its points.
"""

import struct
import zlib

import numpy as np

GLYPHS = {
    "0": "~40 72 86 7a 4c 1a 06 12 40",
    "1": "14 40 4c",
    "2": "~03 11 40 71 83 76 0c|0c 8c",
    "3": "~02 10 40 71 73 65 35|~35 66 88 8a 6c 3c 1c 0a",
    "4": "6c 60 08 88",
    "5": "70 10 06|~06 25 55 77 89 7b 4c 1c 0a",
    "6": "~71 40 11 06 09 1b 4c 7b 89 76 45 16 08",
    "7": "00 80 3c",
    "8": "~40 71 73 45 13 11 40|~45 76 89 7b 4c 1b 09 16 45",
    "9": "~84 76 47 16 03 11 40 71 83 86 7b 4c 1b",
    "%": "80 0c|~20 32 24 12 20|~68 7a 6c 5a 68",
    ".": "~4b 4c",
    "L": "00 0c 8c",
    "N": "0c 00 8c 80",
    "a": "74 7c|~75 54 24 06 0a 2c 5c 7b",
    "b": "10 1c|~15 34 64 86 8a 6c 3c 1b",
    "c": "~75 54 34 06 0a 3c 5c 7b",
    "d": "70 7c|~75 54 24 06 0a 2c 5c 7b",
    "e": "08 78|~78 75 44 15 08 1b 4c 7b",
    "f": "24 64|~70 50 42 44|44 4c",
    "g": "74 7d|~7d 6f 4g 1f|~75 54 24 06 0a 2c 5c 7b",
    "h": "10 1c|~16 34 64 76|76 7c",
    "i": "45 4c|41 41",
    "k": "10 1c|74 19|39 7c",
    "l": "40 4c",
    "m": "04 0c|~06 14 34 46|46 4c|~46 54 74 86|86 8c",
    "n": "14 1c|~16 34 64 76|76 7c",
    "o": "~44 75 88 7b 4c 1b 08 15 44",
    "p": "14 1g|~15 34 64 86 8a 6c 3c 1b",
    "r": "24 2c|~28 35 54 74",
    "s": "~75 54 34 15 16 38 58 7a 7b 5c 3c 1b",
    "t": "40 4a|~4a 5c 7c|14 74",
    "u": "14 1a|~1a 2c 5c 7a|74 7c",
    "w": "04 2c 46 6c 84",
    "x": "14 7c|74 1c",
    "y": "14 4c|74 2g",
    " ": "",
}
NARROW = {"i": 4, "l": 4, ".": 4, "f": 7, "t": 8, "r": 8, "1": 8, " ": 6}

INK, FAINT, PAPER = (38, 44, 56), (118, 126, 140), (255, 255, 255)
EMPTY, RIGHT, WRONG = (244, 246, 249), (24, 84, 148), (214, 84, 40)


def smooth(points):
    """Points along a Catmull-Rom curve through `points`; closed when the first is the last."""
    closed = np.array_equal(points[0], points[-1])
    before, after = (points[-2], points[1]) if closed else (points[0], points[-1])
    p = np.concatenate(([before], points, [after]))
    t = np.linspace(0, 1, 8)[:, None]
    return np.concatenate([
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2
               + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(p, p[1:], p[2:], p[3:])
    ])


class Canvas:
    """A picture whose shapes have soft edges: how much of a pixel is covered comes from distances."""

    def __init__(self, width, height):
        self.pixels = np.full((height, width, 3), PAPER, float)

    def blend(self, x, y, cover, color):
        """Puts `color` on the rectangle at x, y as far as `cover` says."""
        part = self.pixels[y : y + cover.shape[0], x : x + cover.shape[1]]
        part += cover[: part.shape[0], : part.shape[1], None] * (np.array(color) - part)

    def box(self, x, y, width, height, color, radius=5):
        """A rectangle with round corners."""
        ys, xs = np.mgrid[0:height, 0:width] + 0.5
        dx = np.maximum(np.abs(xs - width / 2) - width / 2 + radius, 0)
        dy = np.maximum(np.abs(ys - height / 2) - height / 2 + radius, 0)
        self.blend(x, y, np.clip(radius + 0.5 - np.hypot(dx, dy), 0, 1), color)

    def stroke(self, points, thickness, color):
        """A line through `points` with round ends."""
        pad = thickness + 2
        low = np.maximum(np.floor(points.min(axis=0) - pad).astype(int), 0)
        high = np.ceil(points.max(axis=0) + pad).astype(int)
        ys, xs = np.mgrid[low[1] : high[1], low[0] : high[0]] + 0.5
        distance = np.full(xs.shape, np.inf)
        for (ax, ay), (bx, by) in zip(points, points[1:]):
            length = max((bx - ax) ** 2 + (by - ay) ** 2, 1e-9)
            t = np.clip(((xs - ax) * (bx - ax) + (ys - ay) * (by - ay)) / length, 0, 1)
            distance = np.minimum(distance, np.hypot(xs - ax - t * (bx - ax), ys - ay - t * (by - ay)))
        self.blend(*low, np.clip(thickness / 2 + 0.5 - distance, 0, 1), color)

    def text(self, x, y, text, size, color, align="left", bold=1.0, upwards=False):
        """Text `size` pixels high, its middle at height y; upwards: turned by a quarter."""
        scale = size / 12
        widths = [NARROW.get(letter, 8) + 4.5 for letter in text]
        start = {"left": 0, "center": 0.5, "right": 1}[align] * -(sum(widths) - 4.5) * scale
        for letter, width in zip(text, widths):
            shift = (NARROW.get(letter, 8) - 8) / 2
            for stroke in filter(None, GLYPHS[letter].split("|")):
                points = np.array([[int(c, 36) for c in p] for p in stroke.lstrip("~").split()], float)
                points = smooth(points) if stroke[0] == "~" else points
                points = (points + (shift, -6)) * scale + (start, 0)
                if upwards:
                    points = points[:, ::-1] * (1, -1)
                self.stroke(points + (x, y), bold * (0.6 + size / 9), color)
            start += width * scale

    def save(self, file):
        """Writes the picture as a PNG of 8-bit colours."""
        height, width, _ = self.pixels.shape
        rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each row: filter 0, then the colours
        rows[:, 1:] = self.pixels.round().astype(np.uint8).reshape(height, -1)
        with open(file, "wb") as png:
            png.write(b"\x89PNG\r\n\x1a\n")
            for kind, body in (
                (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
                (b"IDAT", zlib.compress(rows.tobytes(), 9)),
                (b"IEND", b""),
            ):
                crc = zlib.crc32(kind + body)
                png.write(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc))


def mix(start, end, share):
    return tuple(np.array(start) + share * (np.array(end) - start))


def draw_confusion(file, confusion, title, subtitle):
    """Right answers are blue, mistakes orange; the stronger, the more of them."""
    cell, left, top = 62, 120, 170
    side = cell * len(confusion)
    canvas = Canvas(left + side + 50, top + side + 40)
    canvas.text(left, 42, title, 24, INK, bold=1.2)
    canvas.text(left, 82, subtitle, 13, FAINT)
    canvas.text(left + side / 2, 122, "read as", 12, FAINT, "center")
    canvas.text(52, top + side / 2, "digit", 12, FAINT, "center", upwards=True)
    worst = max(confusion[~np.eye(len(confusion), dtype=bool)].max(), 4)
    for i, row in enumerate(confusion):
        middle = i * cell + cell / 2
        canvas.text(left + middle, 150, str(i), 15, INK, "center", bold=1.2)
        canvas.text(92, top + middle, str(i), 15, INK, "center", bold=1.2)
        for j, count in enumerate(row):
            share = count / row.sum() if i == j else count / worst
            if count:
                share = share**2 if i == j else 0.25 + 0.75 * share
            color = mix(EMPTY, RIGHT if i == j else WRONG, share)
            x, y = left + j * cell, top + i * cell
            canvas.box(x + 2, y + 2, cell - 4, cell - 4, color)
            if count:
                ink = PAPER if share > 0.45 else INK
                canvas.text(x + cell / 2, y + cell / 2, str(count), 15, ink, "center", bold=1.1)
    canvas.save(file)
