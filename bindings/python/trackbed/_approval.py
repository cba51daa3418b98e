"""Steps that ask people."""

from __future__ import annotations

from typing import Any, Dict, Mapping, NoReturn, Optional, Sequence, Tuple

from ._options import Duration, Options, duration
from ._refs import Condition, Ref, referenced_tasks
from ._trace import Node, Place, when, within_pipeline
from .errors import BuildError


class Approval(Ref):
    """A question to people, made by `approval`. Tasks called in its `with` block run once somebody
    has approved, and are skipped when it was rejected."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._block = when(self.approved)

    @property
    def approved(self) -> Condition:
        """For `when`, joined with other conditions."""
        return Condition(f"tasks.{self._node.name}.state == 'succeeded'", (self._node,))

    def __enter__(self) -> "Approval":
        self._block.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._block.__exit__()

    def _nodes(self) -> "Tuple[Node, ...]":
        return (self._node,)

    def _no_value(self) -> NoReturn:
        raise BuildError(
            f"{self!r:.80} has no value: call tasks in its `with` block, or name it in `after`"
        )

    def _expression(self) -> str:
        self._no_value()

    def _binding(self) -> Dict[str, Any]:
        self._no_value()

    def __repr__(self) -> str:
        return f"<approval {self._node.name}>"


def approval(
    message: str,
    *,
    name: str = "approval",
    approvers: Sequence[str] = (),
    timeout: Optional[Duration] = None,
    description: Optional[str] = None,
    allow_failure: bool = False,
    trigger: Optional[str] = None,
    labels: "Mapping[str, str]" = {},
    after: Any = (),
) -> Approval:
    """A step that asks somebody and waits for the answer, taking no slots meanwhile.

    message         what is asked; parameters and results of tasks may stand in it as in an f-string
    approvers       who may answer; anybody unless given
    timeout         unanswered by then it is rejected, in seconds or as "3d"; it waits on unless given

    Approved it has succeeded, rejected it has failed: `TASK.options(after=gate,
    trigger="any_failed")` runs when it was rejected, and with `allow_failure` the run does not fail
    for that. `run["NAME"].approve(by="ada")`, or `trackbed approve RUN NAME`, answers; the other
    options are those of `@task`, `after` that of `TASK.options`.

    >>> from trackbed import approval, pipeline, task
    >>> @task
    ... def train() -> float:
    ...     return 0.97
    >>> @task
    ... def publish(accuracy: float) -> None: ...
    >>> @pipeline
    ... def release() -> None:
    ...     accuracy = train()
    ...     with approval(f"Release it? Its accuracy is {accuracy}.", timeout="3d"):
    ...         publish(accuracy)
    >>> print(release.describe())
    train
    approval  after train
    publish  after approval, train  when tasks.approval.state == 'succeeded'
    """
    place = Place.of_caller()
    trace = within_pipeline("approval(…)", place)
    if isinstance(approvers, str):
        raise place.error(f"approvers: found the text {approvers!r}, expected a list of names")
    asks: Dict[str, Any] = {"message": str(message)}
    if approvers:
        asks["approvers"] = list(approvers)
    try:
        if timeout is not None:
            asks["timeout"] = duration("timeout", timeout)
        options = Options().changed(
            {
                "description": description, "allow_failure": allow_failure, "trigger": trigger,
                "labels": labels, "after": after,
            }
        )  # fmt: skip
    except BuildError as error:
        raise place.error(str(error)) from None
    node = trace.add(name, options, place, fixed=False)
    node.kind = "dict"  # without outputs
    node.approval = asks
    trace.depend_on_named(node, referenced_tasks(asks["message"]))
    return Approval(node)
