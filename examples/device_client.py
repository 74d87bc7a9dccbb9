"""device_client.py SOCKET: talks to a host as a device process does, with stock protobuf.

In bash, in a folder with this file; the first two make the modules, once:
  protos=$(pkg-config --variable=protodir cuse-dxg)
  protoc -I "$protos" --python_out=. "$protos"/proto/dxg/{options,names,fault,profile,control,protocol,host}.proto
  dxg-hostsim --listen ./host.socket
In another shell, in the same folder:
  PYTHONPATH=. python3 device_client.py ./host.socket
"""

import socket
import struct
import sys

from proto.dxg import host_pb2, protocol_pb2

CREATE_PROCESS, DESTROY_PROCESS, OPEN_ADAPTER = 1000, 1001, 14  # (dxg.command).id in host.proto


class Host:
    """A connection: frames of 4 bytes with the length, little-endian, then a message."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.stream = self.socket.makefile("rb")
        self.calls = 0
        self.send(protocol_pb2.ToHost(hello=protocol_pb2.Hello(version=1, program="device_client.py")))
        refused = self.receive().hello.refused
        if refused:
            sys.exit(f"the host refuses: {refused}")
        self.adapters = list(iter(lambda: self.receive_one_of("adapter_arrived", "started"), None))

    def send(self, message):
        data = message.SerializeToString()
        self.socket.sendall(struct.pack("<I", len(data)) + data)

    def receive(self):
        (length,) = struct.unpack("<I", self.stream.read(4))
        return protocol_pb2.FromHost.FromString(self.stream.read(length))

    def receive_one_of(self, wanted, end=None):
        """The next message of a kind; None after one of kind `end`. Events of the host are passed over."""
        while True:
            message = self.receive()
            kind = message.WhichOneof("what")
            if kind in (wanted, end):
                return getattr(message, wanted) if kind == wanted else None

    def call(self, command, request, reply, process=0, adapter=0):
        self.calls += 1
        call = protocol_pb2.Call(number=self.calls, command=command, process=process, adapter=adapter,
                                 request=request.SerializeToString())
        self.send(protocol_pb2.ToHost(calls=protocol_pb2.Calls(calls=[call])))
        answer = self.receive_one_of("answer")
        if answer.error:
            sys.exit(f"command {command}: {answer.why}")
        return reply.FromString(answer.reply)


host = Host(sys.argv[1])
name = "device_client.py".encode("utf-16-le").ljust(522, b"\0")
process = host.call(CREATE_PROCESS, host_pb2.CreateProcess.Request(process_id=1, process_name=name, process_bits=8),
                    host_pb2.CreateProcess.Reply).process
for adapter in host.adapters:
    opening = host_pb2.OpenAdapter.Request(interface_version=40, last_compatible_interface_version=16, guest_adapter_luid=adapter.luid)
    opened = host.call(OPEN_ADAPTER, opening, host_pb2.OpenAdapter.Reply, adapter=adapter.address)
    print(f"adapter {adapter.luid:#x}: status {opened.status}, interface version {adapter.interface_version}")
host.call(DESTROY_PROCESS, host_pb2.DestroyProcess.Request(), host_pb2.DestroyProcess.Reply, process=process)
