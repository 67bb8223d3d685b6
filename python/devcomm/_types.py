# SPDX-License-Identifier: Apache-2.0
"""Element types and operators, as the C headers number them."""
from __future__ import annotations

import enum

from devcomm._native import lib


class DType(enum.IntEnum):
    F64 = lib.DCM_F64
    F32 = lib.DCM_F32
    F16 = lib.DCM_F16
    BF16 = lib.DCM_BF16
    F8E4M3 = lib.DCM_F8E4M3
    F8E5M2 = lib.DCM_F8E5M2
    I8 = lib.DCM_I8
    U8 = lib.DCM_U8
    I32 = lib.DCM_I32
    U32 = lib.DCM_U32
    I64 = lib.DCM_I64
    U64 = lib.DCM_U64

    @property
    def nbytes(self) -> int:
        return int(lib.dcm_dtype_bytes(int(self)))


class Op(enum.IntEnum):
    SUM = lib.DCM_SUM
    PROD = lib.DCM_PROD
    MIN = lib.DCM_MIN
    MAX = lib.DCM_MAX
    AVG = lib.DCM_AVG


# The names that arrays of other libraries use for the same.
_ALIASES = {
    "float64": DType.F64, "double": DType.F64,
    "float32": DType.F32, "float": DType.F32,
    "float16": DType.F16, "half": DType.F16,
    "bfloat16": DType.BF16,
    "float8_e4m3fn": DType.F8E4M3, "float8_e5m2": DType.F8E5M2,
    "int8": DType.I8, "uint8": DType.U8, "bool": DType.U8,
    "int32": DType.I32, "uint32": DType.U32,
    "int64": DType.I64, "uint64": DType.U64,
}
DTYPES: dict[str, DType] = {t.name.lower(): t for t in DType} | _ALIASES
OPS: dict[str, Op] = {o.name.lower(): o for o in Op} | {"product": Op.PROD}


def to_dtype(name: object) -> DType:
    """From one of ours, its name, or a numpy or torch type."""
    if isinstance(name, DType):
        return name
    found = DTYPES.get(str(name).rpartition(".")[2].lower())
    if found is None:
        raise ValueError(f"{name} is none of the types that devcomm has: "
                         + ", ".join(t.name.lower() for t in DType))
    return found


def to_op(name: object) -> Op:
    """From one of ours, its name, or a torch.distributed.ReduceOp."""
    if isinstance(name, Op):
        return name
    found = OPS.get(str(name).rpartition(".")[2].lower())
    if found is None:
        raise ValueError(f"{name} is none of the operators that devcomm has: "
                         + ", ".join(o.name.lower() for o in Op))
    return found
