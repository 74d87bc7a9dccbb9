#!/usr/bin/python3
"""vmbus-link.py HOSTSIM GOLDEN

A guest of `dxg-hostsim --serve=vmbus:` in nothing but Python: speaks the link of docs/vmbus.md with packets on its socket, and
sends the messages of a recorded guest (GOLDEN), with its own handles in them. Then guests that make no sense: each loses
its connection, or is answered with nothing, and the others are served as before.
"""

import array
import json
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile

OFFER, REQUEST_OFFERS, ALL_OFFERED, OPEN, OPEN_RESULT, CLOSE, GPADL, GPADL_BODY, GPADL_CREATED = 1, 3, 4, 5, 6, 7, 8, 9, 10
TEARDOWN, CONTACT, VERSION, ARRIVED, READ_CONFIG, WRITE_CONFIG, CONFIG_DONE = 11, 14, 15, 0x100, 0x102, 0x103, 0x104
WINDOW, GUEST_MEMORY, FORGET, DOORBELLS, CONTROL, PING, PONG = 0x110, 0x111, 0x112, 0x113, 0x120, 0x130, 0x131
IN_BAND, COMPLETION, WANTS_COMPLETION = 6, 11, 1
HEADER = struct.Struct("<IHHQ")  # channel, type, flags, transaction
LUID, PROCESS, ARGUMENTS = 8, 24, 40  # where a message has them
WINDOW_START = 0xFC0000000


def control(number, layout="", *fields):
    return struct.pack("<II" + layout, number, 0, *fields)


class Guest:
    def __init__(self, path, golden):
        self.golden = golden
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(20)
        self.socket.connect(path)
        self.transaction = 0
        self.events = []
        self.window = None

    def send(self, payload, channel=0, kind=0, flags=0, transaction=0, descriptors=()):
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        self.socket.sendmsg([HEADER.pack(channel, kind, flags, transaction), payload], ancillary)

    def receive(self):
        """A packet: its header's fields and its payload; None when the host has closed."""
        try:
            data, ancillary, _, _ = self.socket.recvmsg(1 << 18, socket.CMSG_SPACE(16))
        except (ConnectionResetError, BrokenPipeError):
            return None
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self.window = array.array("i", content)[0]
        return HEADER.unpack_from(data) + (data[HEADER.size:],) if data else None

    def until(self, wanted):
        while True:
            packet = self.receive()
            assert packet is not None, "the host has closed"
            channel, kind, _, transaction, payload = packet
            if channel == self.relids.get("global") and kind == IN_BAND:
                self.events.append(payload)
            if wanted(channel, kind, transaction, payload):
                return payload

    def answer(self, number):
        return self.until(lambda channel, _, __, payload: channel == 0 and struct.unpack_from("<I", payload)[0] == number)

    def is_let_go(self):
        while self.receive() is not None:
            pass
        return True

    def config(self, offset, value=None):
        read = value is None
        self.send(control(READ_CONFIG, "II", self.function, offset) if read
                  else control(WRITE_CONFIG, "III", self.function, offset, value))
        function, at, error, got = struct.unpack_from("<IIiI", self.answer(CONFIG_DONE), 8)
        assert (function, at, error) == (self.function, offset, 0), (function, at, error)
        return got

    def begin(self):
        """Contact, the offers, what both sides agree on, and both channels open."""
        self.relids, offers = {}, []
        self.send(control(CONTACT, "IIQQQ", 4 << 16, 0, 0, 0, 0))
        assert self.answer(VERSION)[8] == 1
        self.send(control(REQUEST_OFFERS))

        def note(channel, _, __, payload):
            number = struct.unpack_from("<I", payload)[0]
            if number == OFFER:
                offers.append((payload[24:40], struct.unpack_from("<I", payload, 184)[0]))
            elif number == ARRIVED:
                self.function, vendor, device = struct.unpack_from("<IHH", payload, 8)
                assert (vendor, device) == (0x1414, 0x8E)
            elif number == WINDOW:
                self.window_bytes, self.window_offset = struct.unpack_from("<QQ", payload, 8)
            return number == ALL_OFFERED

        self.until(note)
        instance = struct.pack("<IIII", *(self.config(0xC0 + 4 * i) for i in range(4)))
        assert self.config(0xD0) == 40
        self.config(0xD0, 40)
        self.luid = self.config(0xD4) | self.config(0xD8) << 32
        self.config(0xD4, 1)
        self.relids["vgpu"] = next(relid for name, relid in offers if name == instance)
        self.relids["global"] = next(relid for name, relid in offers if name != instance)
        for relid in self.relids.values():
            self.send(control(OPEN, "IIIII120x", relid, relid, 0, 0, 0))
            assert struct.unpack_from("<II", self.answer(OPEN_RESULT), 8) == (relid, relid)
        return self

    def record(self, title, process=0, **patches):
        """The recorded message, with our names in it. Patches: at=(offset behind the header, layout, value)."""
        message = bytearray(bytes.fromhex(self.golden[title]["payload"]))
        if struct.unpack_from("<Q", message, LUID)[0] != 0:
            struct.pack_into("<Q", message, LUID, self.luid)
        struct.pack_into("<I", message, PROCESS, process)
        for offset, layout, value in patches.values():
            struct.pack_into(layout, message, ARGUMENTS + offset, value)
        return bytes(message)

    def ask(self, channel, message):
        self.transaction += 1
        mine = self.transaction
        self.send(message, self.relids[channel], IN_BAND, WANTS_COMPLETION, mine)
        return self.until(lambda at, kind, transaction, _: (at, kind, transaction) == (self.relids[channel], COMPLETION, mine))

    def tell(self, channel, message):
        self.send(message, self.relids[channel], IN_BAND)

    def live(self):
        """A process, a device, a fence that the window shows, a wait, and its event."""
        name = {title.split()[0]: title for title in reversed(self.golden)}  # the first of each command
        assert len(self.ask("global", self.record(name["SETIOSPACEREGION"], length=(8, "<Q", self.window_bytes)))) == 8
        opened = self.ask("vgpu", self.record(name["OPENADAPTER"]))
        handle, status, version = struct.unpack_from("<IiI", opened)
        assert status == 0 and version == 40 and len(opened) == 16, opened.hex()
        info = self.ask("vgpu", self.record(name["GETINTERNALADAPTERINFO"]))
        assert len(info) == 712 and info[12] & 1 << 6, "asynchronous messages are on"
        self.process = process = struct.unpack_from("<I", self.ask("global", self.record(name["CREATEPROCESS"])))[0]
        self.device = device = struct.unpack_from("<I", self.ask("global", self.record(name["CREATEDEVICE"], process)))[0]
        assert process != 0 and device != 0
        created = self.ask("global", self.record(name["CREATESYNCOBJECT"], process, device=(0, "<I", device)))
        self.fence, address = struct.unpack_from("<I", created)[0], struct.unpack_from("<Q", created, 16)[0]
        offset = address - WINDOW_START
        assert 0 <= offset < self.window_bytes - 8, hex(address)
        with mmap.mmap(self.window, 4096, offset=self.window_offset + offset // 4096 * 4096) as page:
            value = lambda: struct.unpack_from("<Q", page, offset % 4096)[0]
            assert value() == 7, value()
            wait = self.record(name["WAITFORSYNCOBJECTFROMCPU"], process, device=(0, "<I", device), event=(16, "<Q", 0x1234),
                               fence=(32, "<I", self.fence))
            assert struct.unpack_from("<i", self.ask("global", wait))[0] == 0
            assert not self.events, "it is too early"
            # By a device, where the record is by a context.
            signal_it = self.record(name["SIGNALSYNCOBJECT"], process, contexts=(8, "<I", 0), device=(24, "<Q", device),
                                    fence=(32, "<I", self.fence), value=(36, "<Q", 9))
            self.tell("global", signal_it[:ARGUMENTS + 44])
            if not self.events:
                self.until(lambda *_: self.events)
            assert len(self.events) == 1 and len(self.events[0]) == 48
            assert struct.unpack_from("<Q", self.events.pop(), 24)[0] == 0x1234
            assert value() == 9, value()
        assert self.ask("global", self.record(name["CLOSEADAPTER"], adapter=(0, "<I", handle))) == b""
        assert struct.unpack_from("<i", self.ask("global", self.record(name["DESTROYPROCESS"], process)))[0] == 0
        return self


def check_nonsense_on_channels(guest):
    """Answered with nothing: the guest goes on."""
    name = {title.split()[0]: title for title in reversed(guest.golden)}
    nothing = [b"", b"\0" * 8, b"\xff" * 64, guest.record(name["CREATEDEVICE"])[:20], guest.record(name["CREATEDEVICE"])[:48],
               guest.record(name["CREATEDEVICE"], command=(-8, "<I", 99999))]
    for count in (3, 1000, 0x40000000, 0xFFFFFFFF):  # more than there are
        nothing += [guest.record(name["WAITFORSYNCOBJECTFROMCPU"], guest.process, count=(4, "<I", count)),
                    guest.record(name["MAKERESIDENT"], guest.process, count=(12, "<I", count))]
    for message in nothing:
        assert guest.ask("global", message) == b"", message.hex()
    for channel in (0x7777, 0xFFFFFFFF):  # nobody's
        guest.send(b"\0" * 64, channel, IN_BAND, WANTS_COMPLETION, 1)
    for kind in (0, 7, COMPLETION, 0xFFFF):
        guest.send(b"\0" * 64, guest.relids["global"], kind, WANTS_COMPLETION, 1)
    guest.send(control(PING))
    guest.answer(PONG)


def check_nonsense_on_the_link(path, golden):
    def guest():
        return Guest(path, golden).begin()

    def says(payload, descriptors=(), first=guest):
        connection = first()
        connection.send(payload, descriptors=descriptors)
        return connection

    def raw(data):
        connection = guest()
        connection.socket.send(data)
        return connection

    stranger = lambda: Guest(path, golden)
    null = os.open("/dev/null", os.O_RDWR)
    for nonsense in (
        lambda: says(b"GET / HTTP/1.0\r\n\r\n", first=stranger),
        lambda: says(b"", first=stranger),
        lambda: says(control(REQUEST_OFFERS), first=stranger),  # before contact
        lambda: says(control(CONTACT)),
        lambda: says(control(CONTACT, "IIQQQ", 4 << 16, 0, 0, 0, 0)),  # twice
        lambda: raw(b"\0" * 7),
        lambda: raw(b"\0" * (1 << 17) + b"\0" * 4096),
        *(lambda number=number: says(control(number)) for number in
          (OPEN, CLOSE, GPADL, GPADL_BODY, TEARDOWN, READ_CONFIG, WRITE_CONFIG, GUEST_MEMORY, FORGET, DOORBELLS)),
        lambda: says(control(GPADL, "IIHHII", 1, 9, 16, 2, 4096, 0)),  # two ranges
        lambda: says(control(GPADL, "IIHHII", 1, 9, 16, 1, 4095, 0)),
        lambda: says(control(GPADL, "IIHHIIQQ", 1, 9, 16, 1, 4096, 0, 1, 2)),  # more pages than it has
        lambda: says(control(GUEST_MEMORY, "QQQ", 4096, 4096, 0)),  # without its descriptor
        lambda: says(control(DOORBELLS, "I4x", 1), [null]),
        lambda: says(control(DOORBELLS, "I4x", 77), [null, null]),
        lambda: says(control(CONTROL) + b"\xff" * 8),
    ):
        assert nonsense().is_let_go()
    connection = guest()
    for relid, gpadl in ((77, 0), (1, 0), (1, 5)):  # not there, open already, no such rings
        connection.send(control(OPEN, "IIIII120x", relid, 3, gpadl, 0, 0))
        assert struct.unpack_from("<III", connection.answer(OPEN_RESULT), 8)[2] != 0, (relid, gpadl)
    connection.send(control(GPADL, "IIHHII", 1, 9, 0, 1, 0xFFFFF000, 0))  # begun and never ended
    connection.send(control(GPADL_BODY, "II", 1, 4242))  # of nothing
    for address, size, offset in ((1, 4096, 0), (0, 0, 0), (1 << 62, 4096, 0), (4096, (1 << 64) - 4096, 0), (0, 4096, 1 << 63)):
        connection.send(control(GUEST_MEMORY, "QQQ", address, size, offset), descriptors=[null])
    connection.send(control(GUEST_MEMORY, "QQQ", 1 << 20, 4096, 0), descriptors=[null])  # memory that cannot be read
    connection.send(control(GPADL, "IIHHIIQ", 1, 10, 16, 1, 4096, 0, 256))
    assert struct.unpack_from("<II", connection.answer(GPADL_CREATED), 8) == (1, 10)
    connection.send(control(0x7FFFFFFF))  # of a later version
    connection.live()
    os.close(null)


def main():
    hostsim, records = sys.argv[1:]
    with open(records) as file:
        golden = {record["title"]: record for record in json.load(file)}
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "bus")
        ready, ready_in_child = os.pipe()
        daemon = subprocess.Popen([hostsim, "--serve=vmbus:" + path, "--log-level", "off", "--ready-fd", str(ready_in_child)],
                                  pass_fds=[ready_in_child])
        os.close(ready_in_child)
        try:
            assert os.read(ready, 1) == b"\n", "dxg-hostsim did not start"
            witness = Guest(path, golden).begin().live()
            check_nonsense_on_channels(witness)
            check_nonsense_on_the_link(path, golden)
            witness.live()
            daemon.send_signal(signal.SIGTERM)
            assert witness.is_let_go()
            assert daemon.wait(20) == 0
            assert not os.path.exists(path)
        finally:
            if daemon.poll() is None:
                daemon.kill()
                daemon.wait()
    print("vmbus-link.py: all is as docs/vmbus.md says")


main()
