"""Where the tasks of an engine run, if not as processes of this machine."""

from __future__ import annotations

import ctypes
import dataclasses
from ctypes import POINTER, c_int32, c_size_t, c_uint32
from typing import Any, List, Sequence, Union

from ._native import Struct, Text, text
from .errors import InvalidArgument


@dataclasses.dataclass(frozen=True)
class Containers:
    """In containers of Docker or Podman, for which libcurl is loaded.

    image       of tasks that name none
    endpoint    "unix:///PATH", "tcp://HOST:PORT", "https://HOST:PORT"; where Docker's own program
                finds it unless given
    network     that of the container engine's unless given
    user        "UID:GID" inside; who we are unless given; "image": the image's
    registries  SERVER=USER:secret://SOURCE/NAME
    credentials a file of docker login; where Docker's own program has it unless given
    """

    image: str = ""
    endpoint: str = ""
    network: str = ""
    user: str = ""
    registries: Sequence[str] = ()
    credentials: str = ""


@dataclasses.dataclass(frozen=True)
class Slurm:
    """As jobs of Slurm. The home folder is on a file system that its nodes share.

    partitions, accounts, qualities     each NAME for all tasks, or GROUP=NAME for those of one
                                        resource group
    sbatch                              more options of sbatch: "--constraint=a100"
    endpoint, token_file                of slurmrestd, and the file of a token for it; Slurm's
                                        commands unless given
    """

    partitions: Sequence[str] = ()
    accounts: Sequence[str] = ()
    qualities: Sequence[str] = ()
    sbatch: Sequence[str] = ()
    endpoint: str = ""
    token_file: str = ""


class ChoiceStruct(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("kind", c_int32), ("endpoint", Text), ("image", Text),
        ("network", Text), ("user", Text), ("registries", POINTER(Text)),
        ("registry_count", c_size_t), ("container_init", Text), ("partitions", POINTER(Text)),
        ("partition_count", c_size_t), ("accounts", POINTER(Text)), ("account_count", c_size_t),
        ("qualities", POINTER(Text)), ("quality_count", c_size_t), ("sbatch", POINTER(Text)),
        ("sbatch_count", c_size_t), ("slurm_endpoint", Text), ("slurm_token_file", Text),
        ("credentials", Text),
    ]  # fmt: skip


def choice_struct(choice: Union[str, Containers, Slurm], keep: List[Any]) -> ChoiceStruct:
    """The choice as the library takes it; it lives as long as `keep`."""

    def texts(values: Sequence[str]) -> Any:
        array = (Text * max(1, len(values)))(*[text(value, keep) for value in values])
        keep.append(array)
        return ctypes.cast(array, POINTER(Text))

    if isinstance(choice, Containers):
        made = ChoiceStruct(
            kind=1, endpoint=text(choice.endpoint, keep), image=text(choice.image, keep),
            network=text(choice.network, keep), user=text(choice.user, keep),
            registries=texts(choice.registries), registry_count=len(choice.registries),
            credentials=text(choice.credentials, keep),
        )  # fmt: skip
    elif isinstance(choice, Slurm):
        made = ChoiceStruct(
            kind=2, partitions=texts(choice.partitions), partition_count=len(choice.partitions),
            accounts=texts(choice.accounts), account_count=len(choice.accounts),
            qualities=texts(choice.qualities), quality_count=len(choice.qualities),
            sbatch=texts(choice.sbatch), sbatch_count=len(choice.sbatch),
            slurm_endpoint=text(choice.endpoint, keep),
            slurm_token_file=text(choice.token_file, keep),
        )  # fmt: skip
    else:
        raise InvalidArgument(
            f'run_on: found {choice!r}, expected "process", Containers(…) or Slurm(…)'
        )
    keep.append(made)
    return made
