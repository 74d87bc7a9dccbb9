#!/usr/bin/env python3
"""Records what a device process and a host say to each other, as inputs of fuzz_session and fuzz_socket_backend.

usage: record_traffic.py BUILD_DIRECTORY OUTPUT_DIRECTORY PROGRAM ARGUMENTS...

Stands between `dxg-hostsim` and `cuse-dxg run`, which runs the program, and writes OUTPUT_DIRECTORY/session/N and
OUTPUT_DIRECTORY/socket_backend/N, up to some frames each, and the same as packets of rings. The inputs' form is in fuzz_frames.h.
"""
import array, os, socket, struct, subprocess, sys, tempfile, threading

from varint import varint

FRAMES, FRAME_BYTES = 24, 600  # of one input
WITH_DESCRIPTORS, BY_RINGS = 4, 8  # fuzz_frames.h


def fields(data):
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        if tag & 7 == 0:
            value, at = varint(data, at)
        else:
            size = {1: 8, 5: 4}.get(tag & 7)
            if size is None:
                size, at = varint(data, at)
            value, at = data[at : at + size], at + size
        yield tag >> 3, value


def forward(source, target, taken):
    """Passes everything on; what came goes to `taken`."""
    while True:
        try:
            data, control, _, _ = source.recvmsg(65536, socket.CMSG_SPACE(16), socket.MSG_CMSG_CLOEXEC)
        except OSError:
            data, control = b"", []
        if not data:
            break
        # Frames in shared memory could not be seen here: the host is offered something that it does not know.
        data = data.replace(b"rings", b"RINGS") if not taken else data
        files = array.array("i")
        for _, _, bytes_ in control:
            files.frombytes(bytes_)
        try:
            sent = target.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)] if files else [])
            target.sendall(data[sent:])
        except OSError:
            break
        for file in files:
            os.close(file)
        taken += data
    for each in (source, target):
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def frames(stream):
    at = 0
    while at + 4 <= len(stream):
        (size,) = struct.unpack_from("<I", stream, at)
        yield bytes(stream[at + 4 : at + 4 + size])
        at += 4 + size


def packet(frame):
    """As in a ring: a call or an answer by itself (packets.h) where it is one."""
    for field, value in fields(frame):
        if field != 3:
            continue
        parts = list(fields(value))
        if all(isinstance(each, bytes) for _, each in parts):  # calls
            if len(parts) != 1:
                break
            call = dict(fields(parts[0][1]))
            request = call.get(5, b"")
            integers = [int.from_bytes(each, "little") if isinstance(each, bytes) else each for each in (call.get(i, 0) for i in (2, 3, 4))]
            return 1, call.get(1, 0), struct.pack("<IIQII", *integers, len(request), 0) + request
        answer = dict(parts)
        if set(answer) <= {1, 4}:  # without an error
            reply = answer.get(4, b"")
            return 2, answer[1], struct.pack("<II", len(reply), 0) + reply
    return 0, 0, frame


def write(directory, number, head, part):
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, str(number)), "wb") as file:
        file.write(bytes([WITH_DESCRIPTORS]) + head + b"".join(struct.pack("<H", len(each)) + each for each in part))
    with open(os.path.join(directory, f"{number}-rings"), "wb") as file:
        file.write(bytes([BY_RINGS]) + head)
        for kind, number, payload in map(packet, part):
            file.write(struct.pack("<HBB", len(payload), kind, number & 0xFF) + payload)


def main():
    build, output, program = sys.argv[1], sys.argv[2], sys.argv[3:]
    with tempfile.TemporaryDirectory() as place:
        host_path, proxy_path = place + "/host", place + "/proxy"
        ready, done = os.pipe()
        host = subprocess.Popen([build + "/bin/dxg-hostsim", "--listen", host_path, "--log-level", "warn", "--ready-fd", str(done)], pass_fds=[done])
        os.read(ready, 1)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(proxy_path)
        listener.listen()
        device = subprocess.Popen([build + "/bin/cuse-dxg", "run", "--backend=unix:" + proxy_path, "--", *program], stdout=subprocess.DEVNULL)
        here, there = listener.accept()[0], socket.socket(socket.AF_UNIX)
        there.connect(host_path)
        to_host, from_host = bytearray(), bytearray()
        threads = [threading.Thread(target=forward, args=each) for each in ((here, there, to_host), (there, here, from_host))]
        for thread in threads:
            thread.start()
        device.wait()
        for thread in threads:
            thread.join()
        host.terminate()
        host.wait()

    asked = [each for each in list(frames(to_host))[1:] if len(each) <= FRAME_BYTES]  # the target greets itself
    for number, at in enumerate(range(0, min(len(asked), 4 * FRAMES), FRAMES)):
        write(output + "/session", number, b"", asked[at : at + FRAMES])

    commands = {}  # by the call's number
    for each in asked:
        for field, value in fields(each):
            for inner, call in fields(value) if field == 3 else ():
                parts = dict(fields(call))
                commands[parts.get(1, 0)] = parts.get(2, 0)
    # The target's calls are numbered from 1, so that this is where its host begins.
    answered = [each for each in list(frames(from_host)) if len(each) <= FRAME_BYTES][3:]
    for number, count in enumerate((FRAMES, 4 * FRAMES)):
        numbers = [commands.get(i, 0) for i in range(1, count + 1)]
        head = bytes([len(numbers)]) + b"".join(struct.pack("<H", each) for each in numbers)
        write(output + "/socket_backend", number, head, answered[:count])


main()
