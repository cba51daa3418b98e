"""What can be said of a task besides its function."""

from __future__ import annotations

import dataclasses
import datetime
import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from ._refs import Ref
from .errors import BuildError

Duration = Union[int, float, str, datetime.timedelta]
Amount = Union[int, float, str]

_TRIGGERS = ("all_succeeded", "all_done", "any_failed", "none_failed")
_ENFORCEMENTS = ("accounting", "advisory", "hardware")
_UNITS = re.compile(r"(\d+(\.\d+)?(ms|s|m|h|d))+")


@dataclasses.dataclass(frozen=True)
class Options:
    name: Optional[str] = None
    description: Optional[str] = None
    resources: Mapping[str, Amount] = dataclasses.field(default_factory=dict)
    enforcement: Optional[str] = None
    retries: int = 0
    retry_delay: Duration = 0
    retry_backoff: float = 2.0
    timeout: Duration = 0
    cache: Union[bool, str] = "auto"
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    files: Sequence[str] = ()
    mounts: Sequence[str] = ()
    allow_failure: bool = False
    trigger: Optional[str] = None
    image: Optional[str] = None
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    after: Tuple[Ref, ...] = ()

    def changed(self, given: Mapping[str, Any]) -> "Options":
        """With these options, which are checked, in place of its own."""
        known = [field.name for field in dataclasses.fields(self)]
        for name in given:
            if name not in known:
                raise BuildError(f"a task has no option {name!r}; it has {', '.join(known)}")
        changed = dataclasses.replace(self, **given)
        if isinstance(changed.retries, bool) or not isinstance(changed.retries, int):
            raise BuildError(f"retries: found {changed.retries!r}, expected a whole number")
        if changed.retries < 0:
            raise BuildError(f"retries: found {changed.retries}, expected 0 or more")
        if changed.cache not in (True, False, "auto"):
            raise BuildError(f'cache: found {changed.cache!r}, expected True, False or "auto"')
        if changed.trigger is not None and changed.trigger not in _TRIGGERS:
            raise BuildError(
                f"trigger: found {changed.trigger!r}, expected one of {', '.join(_TRIGGERS)}"
            )
        if changed.enforcement is not None and changed.enforcement not in _ENFORCEMENTS:
            raise BuildError(
                f"enforcement: found {changed.enforcement!r}, expected one of "
                f"{', '.join(_ENFORCEMENTS)}"
            )
        duration("retry_delay", changed.retry_delay)
        duration("timeout", changed.timeout)
        after = changed.after
        if isinstance(after, Ref):
            after = (after,)
        if not all(isinstance(ref, Ref) for ref in after):
            raise BuildError("after: expected results of tasks")
        return dataclasses.replace(changed, after=tuple(after))

    def fields(self) -> Dict[str, Any]:
        """As fields of a task in a document; those that are not said are left out."""
        found: Dict[str, Any] = {
            "description": self.description,
            "resources": dict(self.resources),
            "enforcement": self.enforcement,
            "environment": {name: str(value) for name, value in self.env.items()},
            "mounts": list(self.mounts),
            "image": self.image,
            "labels": dict(self.labels),
        }
        if self.retries:
            found["retry"] = {
                "max_attempts": self.retries + 1,
                "delay": duration("retry_delay", self.retry_delay),
                "backoff": self.retry_backoff,
            }
        if self.timeout:
            found["timeout"] = duration("timeout", self.timeout)
        if self.cache != "auto":
            found["cache"] = self.cache
        if self.allow_failure:
            found["allow_failure"] = True
        if self.trigger is not None:
            found["trigger"] = self.trigger
        return {name: value for name, value in found.items() if value not in (None, {}, [])}


def duration(name: str, value: Duration) -> str:
    """Seconds, a timedelta or "1h30m", as documents have it."""
    if isinstance(value, datetime.timedelta):
        value = value.total_seconds()
    if isinstance(value, str):
        if _UNITS.fullmatch(value):
            return value
    elif not isinstance(value, bool) and isinstance(value, (int, float)) and 0 <= value < 1e9:
        milliseconds = round(value * 1000)
        if milliseconds % 1000 == 0:
            return f"{milliseconds // 1000}s"
        return f"{milliseconds}ms"
    raise BuildError(f'{name}: found {value!r}, expected seconds, a timedelta or a text as "1h30m"')
