"""Programs of `cuse-dxg run --attach=preload`, and what is expected of them, for the tests beside this file. The first argument of
such a test is the folder of the programs."""
import os
import subprocess
import sys
import textwrap

DXG = os.path.join(sys.argv[1], "cuse-dxg")
ENUM_ADAPTERS2 = 0xC0104714  # LX_DXENUMADAPTERS2, with room for none: it counts
failures = 0


def check(what, good, why=""):
    global failures
    if not good:
        failures += 1
        print(f"preload: {what}: {why}", file=sys.stderr)


def run(*words, attach=("--attach=preload",), prepare=None, timeout=120, env=None):
    return subprocess.run([DXG, "run", *attach, "--", *words], capture_output=True, text=True, timeout=timeout, preexec_fn=prepare, env=env)


def client(body, **options):
    """Runs Python in a program of its own, with `call` for a call on a descriptor: 0, or the errno."""
    begin = """
        import array, errno, fcntl, mmap, os, select, signal, socket, stat, sys
        def call(node):
            try:
                fcntl.ioctl(node, %d, bytearray(16))
                return 0
            except OSError as error:
                return error.errno
        """ % ENUM_ADAPTERS2
    text = textwrap.dedent(begin) + textwrap.dedent(body)
    return run(sys.executable, "-c", text, **options)


def expect(what, body, out="ok\n", **options):
    ran = client(body, **options)
    check(what, ran.returncode == 0 and ran.stdout == out, f"status {ran.returncode}, said {ran.stdout!r}, {ran.stderr!r}")


def end():
    sys.exit(1 if failures else 0)
