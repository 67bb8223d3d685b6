# SPDX-License-Identifier: Apache-2.0
"""The CUDA runtime's wrapper and the tests of peer access, on stand-ins.

Each case is a process of its own: libraries stay loaded.
"""
import os
from pathlib import Path

import devcomm
import numpy as np
import pytest
from devcomm.device_communicators import custom_all_reduce_utils as utils
from devcomm.device_communicators.cuda_wrapper import (CudaRTLibrary,
                                                       find_loaded_library)
from support import script

STANDIN = Path(os.environ.get("DEVCOMM_TEST_BUILD", "."), "standin")
FIND = {"LD_LIBRARY_PATH": f"{STANDIN}:{STANDIN}/rt"}
RUNTIME = STANDIN / "rt" / "libcudart.so.13"
needs_standin = pytest.mark.skipif(not RUNTIME.exists(),
                                   reason="DEVCOMM_TEST_BUILD is not set")


def test_find_loaded_library():
    assert find_loaded_library("libdevcomm").endswith("libdevcomm.so.0")
    assert find_loaded_library("libsurely_not_there") is None
    # A folder of that name is no library of that name.
    assert find_loaded_library("devcomm") is None


def test_no_runtime():
    out = script("""
from devcomm.device_communicators.cuda_wrapper import CudaRTLibrary
import devcomm
try:
    CudaRTLibrary()
except devcomm.NotSupported as e:
    print(e)
try:
    CudaRTLibrary("libc.so.6")
except devcomm.NotSupported as e:
    print(e)
""", LD_LIBRARY_PATH="")
    if "libc.so.6 has no cudaSetDevice" not in out:
        raise AssertionError(out)
    if not Path("/usr/local/cuda").exists():
        assert "none is found: libcudart.so.13" in out


@needs_standin
def test_calls():
    cuda = CudaRTLibrary(str(RUNTIME))
    assert CudaRTLibrary(str(RUNTIME)).funcs is cuda.funcs
    cuda.cudaSetDevice(1)
    with pytest.raises(devcomm.DeviceError,
                       match="^CUDART error: invalid device ordinal$"):
        cuda.cudaSetDevice(7)
    assert cuda.cudaGetErrorString(101) == "invalid device ordinal"
    cuda.CUDART_CHECK(0)
    with pytest.raises(devcomm.OutOfMemory):
        cuda.CUDART_CHECK(2)
    a, b = cuda.cudaMalloc(100), cuda.cudaMalloc(100)
    cuda.cudaMemset(a, 7, 100)
    cuda.cudaMemcpy(b, a, 100)
    cuda.cudaDeviceSynchronize()
    host = np.zeros(100, "u1")
    cuda.cudaMemcpy(host.ctypes.data, b, 100)
    assert (host == 7).all()
    handle = cuda.cudaIpcGetMemHandle(a)
    assert len(bytes(handle)) == 64
    c = cuda.cudaIpcOpenMemHandle(handle)
    cuda.cudaMemset(c, 8, 100)
    cuda.cudaMemcpy(host.ctypes.data, a, 100)
    assert (host == 8).all()
    cuda.cudaIpcCloseMemHandle(c)
    with pytest.raises(devcomm.DeviceError):
        cuda.cudaIpcCloseMemHandle(c)
    cuda.cudaFree(a)
    cuda.cudaFree(b)
    cuda.cudaDeviceReset()


@needs_standin
def test_the_loaded_runtime_is_taken():
    out = script(f"""
import ctypes
from devcomm.device_communicators import cuda_wrapper as w
assert w.find_loaded_library("libcudart") is None
ctypes.CDLL("{STANDIN}/rt/old/libcudart.so.11.0")
w.CudaRTLibrary()
print(list(w.CudaRTLibrary.path_to_dict_mapping))
""", **FIND)
    assert "old/libcudart.so.11.0" in out
    out = script("""
from devcomm.device_communicators import cuda_wrapper as w
w.CudaRTLibrary(); w.CudaRTLibrary()
print(list(w.CudaRTLibrary.path_to_dict_mapping), len(w._FUNCTIONS))
""", **FIND)
    assert "libcudart.so.13" in out


# ---- peer access ------------------------------------------------------------

P2P = """
import logging
from devcomm.device_communicators import custom_all_reduce_utils as u
if __name__ == "__main__":
    logging.basicConfig()
    print(u.can_actually_p2p([0, 0, 1], [0, 1, 0]))
"""


def run_file(tmp_path, text, **env):
    """spawn needs a file to come back to."""
    path = tmp_path / "case.py"
    path.write_text(text)
    return script(f"import runpy, sys; sys.argv = [{str(path)!r}]\n"
                  "import subprocess\n"
                  f"d = subprocess.run([sys.executable, {str(path)!r}],"
                  " capture_output=True, text=True)\n"
                  "print(d.stdout, d.stderr)", **env)


@needs_standin
@pytest.mark.parametrize("env,want", [
    ({}, "[True, True, True]"),
    ({"STANDIN_NO_PEER": "1"}, "[False, False, False]"),
    ({"STANDIN_DEAF": "1"}, "[False, False, False]"),
])
def test_can_actually_p2p(tmp_path, env, want):
    assert want in run_file(tmp_path, P2P, **FIND, **env)


@needs_standin
def test_pitfall_1_a_test_that_dies_ends(tmp_path):
    text = P2P.replace("[0, 0, 1], [0, 1, 0]", "[0, 0], [9, 1]")
    out = run_file(tmp_path, text, **FIND)
    assert "[False, True]" in out
    assert "the test of devices 0 and 9 died" in out


CHECK = """
from devcomm.device_communicators import custom_all_reduce_utils as u
if __name__ == "__main__":
    print(u.gpu_p2p_access_check(0, 1), u._cache_file())
    try:
        u.gpu_p2p_access_check(0, 5)
    except ValueError as e:
        print(e)
"""


@needs_standin
def test_access_check_and_pitfall_24_its_cache(tmp_path):
    env = {**FIND, "XDG_CACHE_HOME": str(tmp_path)}
    out = run_file(tmp_path, CHECK, **env)
    assert out.startswith("True ") and "no pair of devices 0 and 5" in out
    file = Path(out.splitlines()[0].split()[1])
    assert file.parent == tmp_path / "devcomm"
    assert "0->1" in file.read_text()
    # What is there is taken; half a file is not.
    text = file.read_text()
    file.write_text(text.replace("true", "false"))
    assert run_file(tmp_path, CHECK, **env).startswith("False ")
    file.write_text(text[:10])
    assert run_file(tmp_path, CHECK, **env).startswith("True ")
    # Other devices are another file.
    out = run_file(tmp_path, CHECK, **env, CUDA_VISIBLE_DEVICES="0,1")
    assert out.split()[1] != str(file)


@needs_standin
def test_access_check_without_a_place_for_its_cache(tmp_path):
    (tmp_path / "file").write_text("")
    env = {**FIND, "XDG_CACHE_HOME": str(tmp_path / "file")}
    assert run_file(tmp_path, CHECK, **env).startswith("True ")


@needs_standin
def test_full_nvlink_and_pitfall_22_uuids():
    text = """
from devcomm.device_communicators.custom_all_reduce_utils import is_full_nvlink
uuid = "GPU-7374616e-642d-696e-2064-6576696365"
print(is_full_nvlink([0, 1], 2), is_full_nvlink([uuid + "00", uuid + "01"], 2),
      is_full_nvlink([0, 5], 2))
"""
    assert script(text, **FIND).split() == ["True", "True", "False"]
    assert script(text, **FIND, STANDIN_NO_NVLINK="1").split()[0] == "False"
    assert script(text, **FIND, STANDIN_NO_NVML="1").split()[0] == "False"


def test_with_nvml_context(monkeypatch):
    said = []
    monkeypatch.setattr(utils._nvml, "start", lambda: said.append("start"))
    monkeypatch.setattr(utils._nvml, "stop", lambda: said.append("stop"))

    @utils.with_nvml_context
    def fn(a, b=1):
        said.append((a, b))
        raise KeyError

    with pytest.raises(KeyError):
        fn(2, b=3)
    assert said == ["start", (2, 3), "stop"]
    assert fn.__name__ == "fn"


def test_environment(monkeypatch, caplog):
    monkeypatch.setenv("DEVCOMM_X", "old")
    utils.update_environment_variables({"DEVCOMM_X": "new"})
    assert os.environ["DEVCOMM_X"] == "new"
    assert "DEVCOMM_X changes from old to new" in caplog.text
    caplog.clear()
    utils.update_environment_variables({"DEVCOMM_X": "new"})
    assert not caplog.text


def test_is_weak_contiguous():
    a = np.zeros((4, 6, 2))
    for good in (a, a.transpose(2, 0, 1), a[2:], a[2:].T, a[:, :1, :][:1],
                 np.zeros((0, 3))):
        assert utils.is_weak_contiguous(good)
    for bad in (a[:, :3], a[::2], a[::-1], np.broadcast_to(np.ones(3), (2, 3)),
                np.broadcast_to(a[:1], (4, 6, 2))):
        assert not utils.is_weak_contiguous(bad)
