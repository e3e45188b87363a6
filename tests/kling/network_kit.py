"""What lies between a client and its vendor: bare TCP servers, TLS with our own certificates, proxies that tunnel."""

from __future__ import annotations

import datetime as dt
import select
import socket
import ssl
import struct
import threading
from contextlib import contextmanager, suppress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@contextmanager
def raw_server(talk):
    """A TCP server that does `talk(connection)` once per connection and counts them."""
    listener = socket.create_server(("127.0.0.1", 0))
    count = []
    over = False

    def serve():
        while not over:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            if over:
                connection.close()
                return
            count.append(1)
            with connection, suppress(OSError):
                connection.settimeout(5)
                talk(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    port = listener.getsockname()[1]
    try:
        yield port, count
    finally:
        over = True
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
        listener.close()
        thread.join()


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def reset_on_close(connection):
    """Let the end of a connection be a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def write_certificate(path, *names):
    """Write a certificate for some names, with its key, that is trusted only by who is given this very file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path


def server_tls(certificate):
    """Return what a server needs to speak TLS with a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def pass_on(one, other):
    """Pass on what comes from either end, and how the first of them ends."""
    across = {one: other, other: one}
    while True:
        # Out of one thread: a TLS connection may not be read and written by two at once.
        waiting = [end for end in across if isinstance(end, ssl.SSLSocket) and end.pending()]
        for end in waiting or select.select(list(across), [], [])[0]:
            try:
                piece = end.recv(65536)
                across[end].sendall(piece)
            except OSError:
                reset_on_close(one)
                reset_on_close(other)
                return
            if not piece:
                return


class ConnectProxy:
    """
    A proxy that tunnels to one port, whatever host is asked for.

    `answer` is said to a CONNECT in place of opening a tunnel; `None` opens one. `asked` holds what was asked.
    """

    def __init__(self, port, tls=None):
        self._port = port
        self._tls = tls
        self.answer = None
        self.asked = []
        self._open = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://localhost:{self.port}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection):
        with suppress(OSError), connection:
            if not self._tls:
                self._tunnel(connection)
                return
            with self._tls.wrap_socket(connection, server_side=True) as secure:
                self._tunnel(secure)

    def _tunnel(self, connection):
        head = b""
        while b"\r\n\r\n" not in head:
            piece = connection.recv(65536)
            if not piece:
                return
            head += piece
        self.asked.append(head.decode("latin-1"))
        if self.answer is not None:
            connection.sendall(self.answer)
            return
        with socket.create_connection(("127.0.0.1", self._port)) as vendor:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            pass_on(connection, vendor)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
