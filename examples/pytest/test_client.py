"""What a client prints and how it ends, on several kinds of adapters. In this folder, or a copy of it:

  cc "$(pkg-config --variable=examplesdir cuse-dxg)/enumerate.c" $(pkg-config --cflags cuse-dxg) -o enumerate
  CLIENT=./enumerate pytest -q
"""

import os
import subprocess

import pytest

CLIENT = os.environ.get("CLIENT", "./enumerate")  # the program under test


@pytest.mark.parametrize("profiles", [["discrete"], ["integrated"], ["discrete", "integrated"]])
def test_lists_each_adapter(run_with_dxg, profiles):
    client = run_with_dxg(CLIENT, profiles=profiles)
    assert client.returncode == 0, client.stderr
    assert client.stdout.count("SimGPU") == len(profiles), client.stdout


def test_fails_without_a_node():
    if os.path.exists("/dev/dxg"):
        pytest.skip("this machine has a /dev/dxg")
    client = subprocess.run([CLIENT], capture_output=True, text=True, timeout=60, check=False)
    assert client.returncode == 1 and "/dev/dxg" in client.stderr, client  # its own status: no signal, and it was found
