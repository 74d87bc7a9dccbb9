#!/usr/bin/python3
"""protocol.py HOSTSIM PROTO_ROOT

Speaks docs/protocol.md to a hostsim with nothing but the .proto files and stock protobuf: what a back-end in another
language would do, and what a broken or hostile one might. Every connection that makes no sense is closed, and the one that
does goes on working.
"""

import array
import importlib
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile

CREATE_PROCESS, DESTROY_PROCESS, OPEN_ADAPTER = 1000, 1001, 14
EOF = object()


def compile_protos(root, into):
    protos = ["options", "names", "fault", "profile", "control", "protocol", "host"]
    subprocess.run(["protoc", "-I", root, "--python_out=" + into] + ["proto/dxg/%s.proto" % p for p in protos], check=True)
    sys.path.insert(0, into)
    return importlib.import_module("proto.dxg.protocol_pb2"), importlib.import_module("proto.dxg.host_pb2")


class Connection:
    """One connection: frames of a 4-byte little-endian length and a message, descriptors beside their first byte."""

    def __init__(self, path, protocol):
        self.protocol = protocol
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(20)
        self.socket.connect(path)
        self.bytes = b""
        self.descriptors = []
        self.number = 0

    def send_bytes(self, data, descriptors=()):
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        self.socket.sendmsg([data], ancillary)

    def send(self, message, descriptors=()):
        data = message.SerializeToString()
        self.send_bytes(struct.pack("<I", len(data)) + data, descriptors)

    def receive_bytes(self, count):
        while len(self.bytes) < count:
            try:
                data, ancillary, _, _ = self.socket.recvmsg(65536, socket.CMSG_SPACE(16))
            except ConnectionResetError:
                return EOF
            if not data:
                return EOF
            self.bytes += data
            for level, kind, content in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    self.descriptors += array.array("i", content)
        taken, self.bytes = self.bytes[:count], self.bytes[count:]
        return taken

    def receive(self):
        header = self.receive_bytes(4)
        if header is EOF:
            return EOF
        message = self.protocol.FromHost()
        message.ParseFromString(self.receive_bytes(struct.unpack("<I", header)[0]))
        return message

    def receive_kind(self, kind):
        while True:
            message = self.receive()
            assert message is not EOF, "closed while waiting for " + kind
            if message.WhichOneof("what") == kind:
                return message

    def hello(self, **fields):
        message = self.protocol.ToHost()
        message.hello.version = fields.pop("version", 1)
        message.hello.program = "protocol.py"
        for name in fields.pop("adapters", []):
            message.hello.adapters.add().name = name
        self.send(message)
        return self

    def start(self):
        """Greets, and gives the adapters that are there."""
        self.hello()
        assert self.receive().hello.refused == ""
        adapters = []
        while True:
            message = self.receive()
            if message.WhichOneof("what") == "started":
                return adapters
            adapters.append(message.adapter_arrived)

    def call(self, command, request, reply, process=0, adapter=0):
        self.number += 1
        message = self.protocol.ToHost()
        message.calls.calls.add(number=self.number, command=command, process=process, adapter=adapter,
                                request=request.SerializeToString())
        self.send(message)
        answer = self.receive_kind("answer").answer
        assert answer.number == self.number, (answer.number, self.number)
        assert answer.error == 0, answer.why
        reply.ParseFromString(answer.reply)
        return reply

    def close_is_seen(self):
        while True:
            if self.receive() is EOF:
                return True


def check_a_life(path, protocol, host):
    """A process, an adapter, a device, its memory as a file, and the end of all."""
    connection = Connection(path, protocol)
    adapters = connection.start()
    assert len(adapters) == 1 and adapters[0].luid != 0, adapters
    name = "python".encode("utf-16-le").ljust(522, b"\0")
    process = connection.call(CREATE_PROCESS, host.CreateProcess.Request(cookie=7, process_id=42, process_name=name, process_bits=8),
                              host.CreateProcess.Reply()).process
    assert process != 0
    opened = connection.call(OPEN_ADAPTER, host.OpenAdapter.Request(interface_version=40, last_compatible_interface_version=16,
                                                                    guest_adapter_luid=adapters[0].luid),
                             host.OpenAdapter.Reply(), 0, adapters[0].address)
    assert opened.status == 0, opened
    question = protocol.ToHost()
    question.question.number = 1000
    question.question.home_of = process
    connection.send(question)
    region = connection.receive_kind("region")
    assert region.region.number == 1000 and region.descriptors == 1 and region.region.size % 4096 == 0
    assert os.fstat(connection.descriptors[-1]).st_size >= region.region.file_offset + region.region.size
    question.question.number = 1001
    question.question.region_at = 0x1234
    connection.send(question)
    nothing = connection.receive_kind("region")
    assert nothing.region.number == 1001 and nothing.descriptors == 0, nothing
    ping = protocol.ToHost(ping=5)
    connection.send(ping)
    assert connection.receive_kind("pong").pong == 5
    assert connection.call(DESTROY_PROCESS, host.DestroyProcess.Request(), host.DestroyProcess.Reply(), process).status == 0
    return connection


def check_refusals(path, protocol, host):
    refused = Connection(path, protocol).hello(version=99)
    assert "version 99" in refused.receive().hello.refused
    assert refused.close_is_seen()
    refused = Connection(path, protocol).hello(adapters=["no-such-adapter"])
    assert "no-such-adapter" in refused.receive().hello.refused
    assert refused.close_is_seen()
    refused = Connection(path, protocol).hello(adapters=["/etc/passwd"])  # a name is none of the host's files
    assert "/etc/passwd" in refused.receive().hello.refused
    assert refused.close_is_seen()


def check_nonsense(path, protocol, host):
    def started():
        connection = Connection(path, protocol)
        connection.start()
        return connection

    def with_call(**fields):
        connection = started()
        message = protocol.ToHost()
        message.calls.calls.add(**fields)
        connection.send(message)
        return connection

    def greeted_twice():
        connection = started()
        return connection.hello()

    def call_before_greeting():
        connection = Connection(path, protocol)
        connection.send(protocol.ToHost(ping=1))
        return connection

    def raw(data, first=started):
        connection = first()
        connection.send_bytes(data)
        return connection

    def promised_descriptor():
        connection = started()
        message = protocol.ToHost(descriptors=1)
        message.question.number = 1
        message.question.add_client_pages.size = 4096
        connection.send(message)
        return connection

    for nonsense in (
        lambda: raw(struct.pack("<I", 0xFFFFFFFF)),
        lambda: raw(struct.pack("<I", (1 << 20) + 1)),
        lambda: raw(struct.pack("<I", 3) + b"\xff\xff\xff"),
        lambda: raw(b"GET / HTTP/1.0\r\n\r\n", lambda: Connection(path, protocol)),
        call_before_greeting,
        greeted_twice,
        promised_descriptor,
        lambda: with_call(number=1, command=999999),
        lambda: with_call(number=1, command=CREATE_PROCESS, request=b"\xff\xff"),
    ):
        assert nonsense().close_is_seen()

    truncated = started()  # half a frame, and gone
    truncated.send_bytes(struct.pack("<I", 100) + b"\0" * 50)
    truncated.socket.close()

    pages = started()  # what is no memory is no pages, and the connection goes on
    for size, offset in ((0, 0), (100, 0), (4096, (1 << 63) - 1), (1 << 63, 0)):
        message = protocol.ToHost(descriptors=1)
        message.question.number = 9
        message.question.add_client_pages.size = size
        message.question.add_client_pages.file_offset = offset
        with open("/dev/null", "rb") as null:
            pages.send(message, [null.fileno()])
        assert pages.receive_kind("listed").listed.list == 0, (size, offset)

    strangers = started()  # handles of nobody are refused by the host, one by one
    reply = host.DestroyProcess.Reply()
    for process in (0, 1, 0x40000000, 0xFFFFFFFF):
        strangers.call(DESTROY_PROCESS, host.DestroyProcess.Request(), reply, process)


def main():
    hostsim, root = sys.argv[1:]
    with tempfile.TemporaryDirectory() as directory:
        protocol, host = compile_protos(root, directory)
        path = os.path.join(directory, "host")
        ready, ready_in_child = os.pipe()
        daemon = subprocess.Popen([hostsim, "--listen", path, "--log-level", "off", "--ready-fd", str(ready_in_child)],
                                  pass_fds=[ready_in_child])
        os.close(ready_in_child)
        try:
            assert os.read(ready, 1) == b"\n", "dxg-hostsim did not start"
            witness = check_a_life(path, protocol, host)
            check_refusals(path, protocol, host)
            check_nonsense(path, protocol, host)
            witness.send(protocol.ToHost(ping=6))
            assert witness.receive_kind("pong").pong == 6
            check_a_life(path, protocol, host)
            daemon.send_signal(signal.SIGTERM)
            assert witness.close_is_seen()
            assert daemon.wait(20) == 0
            assert not os.path.exists(path)
        finally:
            if daemon.poll() is None:
                daemon.kill()
                daemon.wait()
    print("protocol.py: all is as docs/protocol.md says")


main()
