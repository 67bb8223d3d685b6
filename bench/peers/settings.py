# SPDX-License-Identifier: Apache-2.0
"""What is measured: every library with every setting, and how it is started."""

import os
import shutil

MIB = 1 << 20

# What Debian 12 and Ubuntu 24.04 call what this folder needs.
PACKAGES = (
    "g++ pkg-config openmpi-bin libopenmpi-dev mpich libmpich-dev libgloo-dev"
)

# malloc that keeps what it was given back: both MPIs allocate in each call.
HEAP = {
    "GLIBC_TUNABLES": "glibc.malloc.mmap_max=0:"
    "glibc.malloc.trim_threshold=8589934592:glibc.malloc.top_pad=268435456"
}
OB1 = "--mca pml ob1 --mca btl self,vader"
NO_CMA = " --mca btl_vader_single_copy_mechanism none"
FRAG = (
    " --mca btl_vader_eager_limit 65536 --mca btl_vader_rndv_eager_limit 65536"
    " --mca btl_vader_max_send_size 262144"
)
TUNED = (
    " --mca coll_tuned_use_dynamic_rules 1"
    " --mca coll_tuned_allreduce_algorithm "
)
# Open MPI takes UCX without a network card only when told to take any.
UCX_ANY = "--mca pml ucx --mca pml_ucx_tls any --mca pml_ucx_devices any"
UCX = {"UCX_TLS": "self,posix,cma"}
RD = {"MPIR_CVAR_ALLREDUCE_INTRA_ALGORITHM": "recursive_doubling"}

RELEASE = {"MPIR_CVAR_BCAST_POSIX_INTRA_ALGORITHM": "release_gather"}
BIG_CELLS = {"MPIR_CVAR_CH4_SHM_POSIX_IQUEUE_CELL_SIZE": "262144"}

# variant: arguments of mpirun, environment, sizes (all when None), types
OPENMPI = [
    ("default", OB1, {}, None, "f32 bf16"),
    ("nocma", OB1 + NO_CMA, {}, None, "f32"),
    ("frag256k", OB1 + FRAG, {}, None, "f32"),
    ("nocma_frag256k", OB1 + NO_CMA + FRAG, {}, None, "f32 bf16"),
    ("rd", OB1 + TUNED + "3", {}, (0, 1024), "f32 bf16"),
    ("rab", OB1 + TUNED + "6", {}, (256 << 10, 64 * MIB), "f32"),
    ("rab_heap", OB1 + TUNED + "6", HEAP, (256 << 10, 64 * MIB), "f32 bf16"),
    ("heap", OB1, HEAP, (256 << 10, 64 * MIB), "f32"),
    ("ucx", UCX_ANY, UCX, None, "f32 bf16"),
]
MPICH = [
    ("default", {}, None, "f32 bf16"),
    ("rd", RD, (0, MIB), "f32 bf16"),
    ("heap", HEAP, (256 << 10, 64 * MIB), "f32 bf16"),
]
# variant, sizes, whether its ranks float over the cores, types
GLOO = [
    ("bcube_busy", (0, 16 * MIB), False, "f32"),
    ("hd_busy", (0, 16 * MIB), False, "f32"),
    ("ring", None, True, "f32 bf16"),
]
# The other operations, f32.  variant, arguments, environment, operations.
OTHER_OPS = ("all_gather", "broadcast", "reduce_scatter")
OTHER_MIN = 64
OPENMPI_OTHER = [
    ("default", OB1, {}, OTHER_OPS),
    ("nocma_frag256k", OB1 + NO_CMA + FRAG, {}, OTHER_OPS),
    ("heap", OB1, HEAP, OTHER_OPS),
    ("sm", OB1 + " --mca coll_sm_priority 100", {}, OTHER_OPS),
    ("ucx", UCX_ANY, UCX, OTHER_OPS),
]
MPICH_OTHER = [
    ("default", {}, OTHER_OPS),
    ("heap", HEAP, OTHER_OPS),
    ("bigcell", BIG_CELLS, OTHER_OPS),
    ("release", RELEASE, ("broadcast",)),
]
# operation: variant, most bytes, whether its ranks float
GLOO_OTHER = {
    "all_gather": ("ring", 64 * MIB, True),
    "broadcast": ("ring", 64 * MIB, True),
    "reduce_scatter": ("hd_busy", 16 * MIB, False),
}
CROWDED = 4  # ranks, on two cores
CROWDED_SIZES = (0, 16 * MIB)


class Setting:
    """One way to run one library: a row of the tables."""

    def __init__(self, peer, variant, dtype, ranks, **more):
        self.peer = peer
        self.variant = variant
        self.dtype = dtype
        self.ranks = ranks
        self.op = more.get("op", "all_reduce")
        self.launcher = more.get("launcher", "").split()
        self.env = more.get("env", {})
        self.sizes = more.get("sizes") or (0, 64 * MIB)
        self.floats = more.get("floats", False)

    def key(self):
        return (self.op, self.peer, self.variant, self.dtype, self.ranks)

    def name(self):
        return "%s %s %s %s, %d ranks" % self.key()

    def program(self, folder):
        return os.path.join(folder, "bp_" + self.peer)

    def why_not(self, folder):
        """None, or why this cannot be run here."""
        if not os.access(self.program(folder), os.X_OK):
            return "%s was not built" % self.program(folder)
        if self.launcher and shutil.which(self.launcher[0]) is None:
            return "there is no %s" % self.launcher[0]
        return None

    def arguments(self, folder, board, budget_ms, limit_s):
        values = {
            "--board": board,
            "--variant": self.variant,
            "--op": self.op,
            "--dtype": self.dtype,
            "--ranks": self.ranks,
            "--min": self.sizes[0],
            "--max": self.sizes[1],
            "--budget": budget_ms,
            "--limit": limit_s,
            "--float": int(self.floats),
            "--boost": 1,
        }
        words = self.launcher + [self.program(folder)]
        for name, value in values.items():
            words += [name, str(value)]
        return words

    def command(self):
        """For readers: what is peculiar to this setting."""
        words = ["%s=%s" % pair for pair in self.env.items()]
        words += self.launcher + ["bp_" + self.peer]
        if not self.launcher:
            words += ["--variant", self.variant]
        return " ".join(words)


def openmpi(ranks):
    words = "mpirun.openmpi --bind-to none -n %d " % ranks
    # Without spare cores Open MPI's own default, to yield, is the right one.
    if ranks == 2:
        return words + "--mca mpi_yield_when_idle 0 "
    return words + "--oversubscribe "


def two_ranks():
    for dtype in ("f32", "bf16"):
        for variant in ("private", "arena", "rewritten"):
            yield Setting("devcomm", variant, dtype, 2)
        for variant, args, env, sizes, types in OPENMPI:
            if dtype in types.split():
                yield Setting("openmpi", variant, dtype, 2, env=env,
                              sizes=sizes, launcher=openmpi(2) + args)
        for variant, env, sizes, types in MPICH:
            if dtype in types.split():
                yield Setting("mpich", variant, dtype, 2, env=env,
                              sizes=sizes, launcher="mpiexec.mpich -n 2")
        for variant, sizes, floats, types in GLOO:
            if dtype in types.split():
                yield Setting("gloo", variant, dtype, 2, sizes=sizes,
                              floats=floats)
    yield Setting("floor", "model", "f32", 2)
    for variant in ("one", "two", "one_stream", "two_stream"):
        yield Setting("registered", variant, "f32", 2)


def other_operations():
    for op in OTHER_OPS:
        def make(peer, variant, most=64 * MIB, **more):
            return Setting(peer, variant, "f32", 2, op=op,
                           sizes=(OTHER_MIN, most), **more)

        for variant in ("private", "private_rewritten", "rewritten"):
            yield make("devcomm", variant)
        for variant, args, env, ops in OPENMPI_OTHER:
            if op in ops:
                yield make("openmpi", variant, env=env,
                           launcher=openmpi(2) + args)
        for variant, env, ops in MPICH_OTHER:
            if op in ops:
                yield make("mpich", variant, env=env,
                           launcher="mpiexec.mpich -n 2")
        variant, most, floats = GLOO_OTHER[op]
        yield make("gloo", variant, most, floats=floats)


def four_ranks():
    for variant in ("private", "arena"):
        yield Setting("devcomm", variant, "f32", CROWDED, sizes=CROWDED_SIZES)
    for variant, args in (("default", OB1), ("nocma", OB1 + NO_CMA)):
        yield Setting("openmpi", variant, "f32", CROWDED, sizes=CROWDED_SIZES,
                      launcher=openmpi(CROWDED) + args)


def settings():
    return list(two_ranks()) + list(other_operations()) + list(four_ranks())
