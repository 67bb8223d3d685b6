# SPDX-License-Identifier: Apache-2.0
"""A devcomm.Group out of whatever group the caller has.

It is made by the caller's own all-gather, so it needs no address and no port:

- a devcomm.Group, or a Comm's
- a stateless group: rank, world_size, all_gather_obj()
- a torch.distributed.ProcessGroup that carries host memory: rank(), size()
"""
from __future__ import annotations

import sys
from typing import Any, Sequence

from devcomm.group import AllGather, Group


def group_of(pg: Any) -> Group:
    """Collective, except for a Group, which is returned as it is."""
    if isinstance(pg, Group):
        return pg
    if hasattr(pg, "all_gather_obj"):
        return Group.by(pg.all_gather_obj, pg.rank, pg.world_size)
    if callable(getattr(pg, "rank", None)) and callable(
            getattr(pg, "size", None)):
        return Group.by(_by_torch(pg), pg.rank(), pg.size())
    raise TypeError(f"a {type(pg).__name__} is none of devcomm.Group, a "
                    "stateless group and a torch.distributed group")


def _by_torch(pg: Any) -> AllGather:
    dist: Any = sys.modules["torch.distributed"]
    if dist.get_backend(pg) == "nccl":
        raise ValueError("an NCCL group carries no host memory: give its gloo "
                         "group")

    def all_gather(mine: bytes) -> Sequence[bytes]:
        parts: list[Any] = [None] * pg.size()
        dist.all_gather_object(parts, mine, group=pg)
        return parts

    return all_gather
