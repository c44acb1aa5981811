"""Python's ssl as a peer: python3 peer.py server|client VERSION ITEM FOLDER [PORT].

A server prints `port N` first. Prints `ok` or one line that says what went wrong.
"""

import socket
import ssl
import sys

role, version, item, folder = sys.argv[1:5]
port = int(sys.argv[5]) if len(sys.argv) > 5 else 0
VERSION = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]


def context():
    if role == "server":
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        name = "expired" if item == "expired" else "server"
        made.load_cert_chain(f"{folder}/{name}.pem", f"{folder}/{name}.key")
        if item == "client certificate":
            made.verify_mode = ssl.CERT_REQUIRED
            made.load_verify_locations(f"{folder}/ca.pem")
    else:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ca = "stranger" if item == "unknown CA" else "ca"
        made.load_verify_locations(f"{folder}/{ca}.pem")
        if item == "client certificate":
            made.load_cert_chain(f"{folder}/client.pem", f"{folder}/client.key")
    made.minimum_version = made.maximum_version = VERSION
    if item == "ALPN":
        made.set_alpn_protocols(["h2"] if role == "server" else ["x", "h2"])
    return made


class Connection:
    """TLS over a socket through memory, so that it can be ended in one direction only."""

    def __init__(self, made, sock, session=None):
        self.sock = sock
        self.came, self.goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = "other.example" if item == "wrong name" else "localhost"
        side = {"server_side": True} if role == "server" else {"server_hostname": name}
        self.tls = made.wrap_bio(self.came, self.goes, session=session, **side)

    def run(self, call, *arguments):
        """Calls until it need not wait for the peer any more."""
        while True:
            try:
                return call(*arguments)
            except ssl.SSLWantReadError:
                self.flush()
                data = self.sock.recv(65536)
                if data:
                    self.came.write(data)
                else:
                    self.came.write_eof()
            finally:
                self.flush()

    def flush(self):
        data = self.goes.read()
        if data:
            self.sock.sendall(data)

    def send(self, data):
        self.run(self.tls.write, data)

    def receive(self):
        """Data, or b'' after the peer's goodbye. A cut is an error."""
        try:
            return self.run(self.tls.read, 65536)
        except ssl.SSLZeroReturnError:
            return b""

    def goodbye(self):
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        finally:
            self.flush()


def expect(found, wanted):
    if found != wanted:
        raise RuntimeError(f"{found!r} in place of {wanted!r}")


def talk(made, sock, session=None):
    """Hello both ways, then the end that the item asks for."""
    peer = Connection(made, sock, session)
    peer.run(peer.tls.do_handshake)
    peer.send(b"hello\n")
    expect(peer.receive(), b"hello\n")
    if item == "ALPN":
        expect(peer.tls.selected_alpn_protocol(), "h2")
    if item == "client certificate" and role == "server":
        expect(peer.tls.getpeercert() is not None, True)
    if item == "truncation":
        sock.close()
        return peer
    if item == "half-close":
        # Each side ends its direction, and hears the other one all the same: theirs is first.
        expect(peer.receive(), b"")
        peer.send(b"after your end\n")
        peer.goodbye()
    else:
        peer.goodbye()
        expect(peer.receive(), b"")
    sock.close()
    return peer


def main():
    made = context()
    rounds = 2 if item == "resumption" else 1
    session = None
    if role == "server":
        listener = socket.create_server(("127.0.0.1", 0))
        print(f"port {listener.getsockname()[1]}", flush=True)
    for number in range(rounds):
        if role == "server":
            sock, _ = listener.accept()
        else:
            sock = socket.create_connection(("127.0.0.1", port))
        sock.settimeout(20)
        peer = talk(made, sock, session)
        session = peer.tls.session if role == "client" else None
        if number == 1:
            expect(peer.tls.session_reused, True)
    print("ok", flush=True)


try:
    main()
except (OSError, RuntimeError) as error:
    print(str(error).replace("\n", " "), flush=True)
