"""A WebSocket client by RFC 6455, on Python's standard library: the foreign peer of the example.

python3 websocket.py PORT: texts, bytes of all the lengths' forms, fragments, a ping, a close.
"""
import base64
import hashlib
import os
import socket
import struct
import sys

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Peer:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=50)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.exactly(1)
        assert head.startswith(b"HTTP/1.1 101"), head
        digest = hashlib.sha1((key + GUID).encode()).digest()
        assert base64.b64encode(digest).decode() in head.decode(), head

    def exactly(self, count):
        parts = []
        while count:
            part = self.socket.recv(min(count, 1 << 16))
            assert part, "an end in the middle"
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def send(self, kind, data, final=True):
        head = bytes([kind | (0x80 if final else 0)])
        if len(data) < 126:
            head += bytes([0x80 | len(data)])
        elif len(data) < 1 << 16:
            head += bytes([0x80 | 126]) + struct.pack("!H", len(data))
        else:
            head += bytes([0x80 | 127]) + struct.pack("!Q", len(data))
        mask = os.urandom(4)
        whole = int.from_bytes(data, "big") ^ int.from_bytes((mask * (len(data) // 4 + 1))[: len(data)], "big")
        self.socket.sendall(head + mask + whole.to_bytes(len(data), "big"))

    def receive(self):
        first, second = self.exactly(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", self.exactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self.exactly(8))
        assert not second & 0x80, "a server does not mask"
        return first & 0x0F, self.exactly(length)

    def echoed(self, kind, data):
        self.send(kind, data)
        assert self.receive() == (kind, data)


def main(port):
    peer = Peer(port)
    peer.echoed(TEXT, "Grüße".encode())
    for length in (0, 1, 125, 126, 65535, 65536, 1_000_000):
        peer.echoed(BINARY, os.urandom(length))
    peer.send(TEXT, b"in ", final=False)
    peer.send(PING, b"in between")
    peer.send(0, b"two")
    assert peer.receive() == (PONG, b"in between")
    assert peer.receive() == (TEXT, b"in two")
    peer.send(CLOSE, struct.pack("!H", 1000) + b"done")
    kind, data = peer.receive()
    assert (kind, data[:2]) == (CLOSE, struct.pack("!H", 1000)), data
    assert peer.socket.recv(1) == b"", "it ends"
    waiting = Peer(port)
    waiting.echoed(TEXT, b"still there")
    print("waiting", flush=True)
    assert waiting.receive()[0] == CLOSE, "the server says goodbye"
    print("told", flush=True)


main(int(sys.argv[1]))
