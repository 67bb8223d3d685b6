# SPDX-License-Identifier: Apache-2.0
"""Sums 1 .. n over n ranks: devcomm run -n 4 python3 hello.py"""
import numpy
from devcomm import Comm, Group

with Group.from_env() as group, Comm(group) as comm:
    x = comm.all_reduce(numpy.full(1, comm.rank + 1.0))
    print(f"rank {comm.rank} of {comm.nranks}: {x[0]:g}")
