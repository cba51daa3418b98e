"""Tasks that the tests run: in a module, as users have them."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from typing import Any, Dict, Iterator, List, NamedTuple

from helper_beside import twice
from trackbed import task


class Split(NamedTuple):
    left: List[int]
    right: List[int]


@dataclasses.dataclass
class Model:
    weights: List[float]
    name: str


class Box:
    """Pickled by its class."""

    def __init__(self, content: Any) -> None:
        self.content = content


@task
def numbers(count: int) -> List[int]:
    return list(range(count))


@task
def halve(values: List[int]) -> Split:
    middle = len(values) // 2
    return Split(values[:middle], values[middle:])


@task
def join(split: Split) -> List[int]:
    assert isinstance(split, Split)
    return split.right + split.left


@task
def double(x: int) -> int:
    return twice(x)


@task
def total(values: List[int]) -> int:
    return sum(values)


@task
def boxed(x: int) -> Box:
    return Box(x)


@task
def unboxed(box: Box) -> int:
    return int(box.content)


@task
def modelled(name: str) -> Model:
    return Model([0.5, 1.5], name)


@task
def weigh(model: Model) -> float:
    assert isinstance(model, Model)
    return sum(model.weights)


@task
def words(text: str) -> pathlib.Path:
    path = pathlib.Path("words.txt")
    path.write_text(text)
    return path


@task
def read(path: pathlib.Path) -> str:
    return path.read_text()


@task
def odd(x: int) -> bool:
    return x % 2 == 1


@task
def say(text: str) -> str:
    print("saying", text)
    return text


@task
def fail(message: str) -> None:
    print("about to fail")
    raise ValueError(message)


@task
def count_up(count: int) -> Iterator[int]:
    for number in range(count):
        yield number


@task
def sometimes(x: int, marks: str) -> int:
    """Notes each call; fails for 3 as long as the file `broken` is there; kills itself for 5."""
    with open(os.path.join(marks, "calls"), "a") as file:
        file.write(f"{x}\n")
    if x == 3 and os.path.exists(os.path.join(marks, "broken")):
        raise ValueError("three is broken")
    if x == 5 and os.path.exists(os.path.join(marks, "broken")):
        os.kill(os.getpid(), 9)
    return x * 10


@task
def options_of(values: Dict[str, List[int]]) -> int:
    return sum(sum(items) for items in values.values())


@task
def wait_for(path: str) -> None:
    import time

    while not os.path.exists(path):
        time.sleep(0.02)
