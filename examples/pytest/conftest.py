"""Fixtures for tests of clients of /dev/dxg: each run of a client has a /dev/dxg of its own."""

import shutil
import subprocess

import pytest


@pytest.fixture
def run_with_dxg():
    """run_with_dxg(PROGRAM, ARGS..., profiles=["discrete"]): runs a client and returns the finished process."""
    launcher = shutil.which("cuse-dxg")
    if launcher is None:
        pytest.fail("cuse-dxg is not in PATH")

    def run(*command, profiles=()):
        options = [word for profile in profiles for word in ("--profile", profile)]
        return subprocess.run([launcher, "run", *options, "--", *command], capture_output=True, text=True, timeout=60, check=False)

    return run
