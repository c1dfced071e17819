"""Ways out: addresses, sockets with names, sockets of every family."""

import os
import socket
import struct
from pathlib import Path

from verifier.sandbox.inside.tools import CONFIG, RESULTS, attempt

_STREAM, _DATAGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
_FAMILIES = {
    "AF_NETLINK": 16,
    "AF_PACKET": 17,
    "AF_ALG": 38,
    "AF_VSOCK": 40,
    "AF_BLUETOOTH": 31,
    "AF_CAN": 29,
}
"""By number: not every Python was built with all of them."""


def connect(family: int, kind: int, address: object) -> str:
    with socket.socket(family, kind) as client:
        client.settimeout(3)
        client.connect(address)  # type: ignore[arg-type]
        client.send(b"leak")
    return "sent"


def open_socket(family: int, kind: int, protocol: int = 0) -> str:
    socket.socket(family, kind, protocol).close()
    return "opened"


def listen() -> str:
    with socket.socket(socket.AF_INET, _STREAM) as server:
        server.bind(("0.0.0.0", 0))  # noqa: S104 (that it fails is the point)
        server.listen(1)
        return f"listens at {server.getsockname()[1]}"


def datagram_pair(address: str) -> str:
    """A pair is connected, but a datagram socket can be sent to any other address."""
    left, right = socket.socketpair(socket.AF_UNIX, _DATAGRAM)
    with left, right:
        left.sendto(b"leak", address)
    return "sent"


def socketpair() -> str:
    left, right = socket.socketpair()
    with left, right:
        left.send(b"hello")
        return right.recv(5).decode()


def echo(number: int) -> str:
    with socket.socket(fileno=number) as channel:
        channel.sendall(channel.recv(64).upper())
    return "echoed"


def interfaces() -> list[str]:
    rows = Path("/proc/net/dev").read_text(encoding="ascii").splitlines()[2:]
    return sorted(row.partition(":")[0].strip() for row in rows)


def vsock() -> str:
    # The address as the kernel has it (struct sockaddr_vm): Python may know no such family.
    with socket.socket(_FAMILIES["AF_VSOCK"], _STREAM) as client:
        client.connect((2, 22) if hasattr(socket, "AF_VSOCK") else struct.pack("=HHII4x", 40, 0, 22, 2))
    return "connected to the machine's host"


def observe() -> None:
    tcp, udp = CONFIG["tcp"], CONFIG["udp"]
    attempt("tcp", lambda: connect(socket.AF_INET, _STREAM, ("127.0.0.1", tcp)))
    attempt("udp", lambda: connect(socket.AF_INET, _DATAGRAM, ("127.0.0.1", udp)))
    attempt("tcp over IPv6", lambda: connect(socket.AF_INET6, _STREAM, ("::1", CONFIG["tcp6"])))
    attempt("udp over IPv6", lambda: connect(socket.AF_INET6, _DATAGRAM, ("::1", CONFIG["udp6"])))
    attempt("listen", listen)
    attempt("raw socket", lambda: open_socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
    attempt("ping socket", lambda: open_socket(socket.AF_INET, _DATAGRAM, socket.IPPROTO_ICMP))
    attempt("netlink", lambda: open_socket(_FAMILIES["AF_NETLINK"], socket.SOCK_RAW))
    attempt("packet", lambda: open_socket(_FAMILIES["AF_PACKET"], socket.SOCK_RAW, 0x0300))
    attempt("kernel crypto socket", lambda: open_socket(_FAMILIES["AF_ALG"], socket.SOCK_SEQPACKET))
    attempt("vsock", vsock)
    attempt("field bus", lambda: open_socket(_FAMILIES["AF_CAN"], socket.SOCK_RAW, 1))
    attempt("bluetooth", lambda: open_socket(_FAMILIES["AF_BLUETOOTH"], socket.SOCK_RAW, 1))
    attempt("unix socket", lambda: connect(socket.AF_UNIX, _STREAM, CONFIG["unix"]))
    attempt("mounted socket", lambda: connect(socket.AF_UNIX, _STREAM, CONFIG["mounted_socket"]))
    attempt("mounted datagram socket", lambda: connect(socket.AF_UNIX, _DATAGRAM, CONFIG["mounted_datagram"]))
    attempt("datagram pair", lambda: datagram_pair(CONFIG["mounted_datagram"]))
    attempt("abstract", lambda: connect(socket.AF_UNIX, _STREAM, "\0" + CONFIG["abstract"]))
    attempt("abstract datagram", lambda: connect(socket.AF_UNIX, _DATAGRAM, "\0" + CONFIG["abstract"] + "-d"))
    attempt("name look-up", lambda: socket.getaddrinfo("example.org", 80)[0][4][0])
    attempt("interfaces", interfaces)
    attempt("socket pair", socketpair)
    attempt("inherited", lambda: echo(CONFIG["channel"]))
    RESULTS["host name"] = os.uname().nodename
