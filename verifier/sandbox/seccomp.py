"""Our own system-call filter, as the bytes that ``bwrap --seccomp`` takes.

Invariants:

- a deny-list: what Python and numerical libraries do stays allowed, what reaches into the kernel, other
  processes, mounts, keys, time or the network is refused;
- system calls of another ABI (i386 and x32 on x86_64, 32-bit Arm) never reach the kernel: the first ends the
  process, the second does not exist;
- a system call with a number newer than the list was reviewed for does not exist (``ENOSYS``), so that a new
  kernel opens no new door;
- with ``network`` plain IPv4 and IPv6 sockets (streams and datagrams) are to be had, nothing else: no unix
  sockets, which would reach the host's abstract ones, no raw, packet, netlink or vsock ones;
- with ``devices`` unix stream sockets can be made and listen, but nothing can connect or accept;
- the filter is a pure function of the machine's architecture and of what the run may use.

::

    data = filter_program("x86_64")
    verdict = simulate(data, architecture=AUDIT_ARCH["x86_64"], number=101)   # ptrace
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Sequence
from typing import Final

AUDIT_ARCH: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""``AUDIT_ARCH_*`` of ``linux/audit.h``: what the kernel reports in ``seccomp_data.arch``."""

LAST_REVIEWED: Final = 456
"""Highest system-call number (equal on both architectures since 424) that this list was made for."""

_X32_BIT: Final = 0x4000_0000

RET_ALLOW: Final = 0x7FFF_0000
RET_ERRNO: Final = 0x0005_0000
RET_KILL_PROCESS: Final = 0x8000_0000

# Offsets in struct seccomp_data; arguments are 64-bit, both architectures are little-endian here.
_OFF_NUMBER: Final = 0
_OFF_ARCH: Final = 4
_OFF_ARGUMENTS: Final = 16

# struct sock_filter codes (linux/bpf_common.h).
_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
_JEQ: Final = 0x15
_JGT: Final = 0x25
_JGE: Final = 0x35
_JSET: Final = 0x45
_RET: Final = 0x06

_CLONE_NEW: Final = (
    0x0200_0000 | 0x0002_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000
)
"""cgroup, mount, uts, ipc, user, pid and net namespaces, as flags of ``clone``."""
_TIOCSTI: Final = 0x5412
_TIOCLINUX: Final = 0x541C
_SOCK_TYPE_MASK: Final = 0xF
_PERSONALITY_QUERY: Final = 0xFFFF_FFFF

# name: (number on x86_64, number on aarch64); None: does not exist there.
_DENIED: Final[dict[str, tuple[int | None, int | None]]] = {
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "perf_event_open": (298, 241),
    # mounts and roots
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "ustat": (136, None),
    "sysfs": (139, None),
    "uselib": (134, None),
    "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42),
    # namespaces
    "unshare": (272, 97),
    "setns": (308, 268),
    # keys
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # the kernel itself
    "bpf": (321, 280),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "create_module": (174, None),
    "query_module": (178, None),
    "get_kernel_syms": (177, None),
    "reboot": (169, 142),
    "syslog": (103, 116),
    "_sysctl": (156, None),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "vhangup": (153, 58),
    # time and names of the machine
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    # memory that no limit of ours sees, or that lives on after its process
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "shmdt": (67, 197),
    "semget": (64, 190),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "sched_setaffinity": (203, 122),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    "vmsplice": (278, 75),
    # sockets: the inherited ones need none of these
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
}

# Refused as if the kernel had none of them: libraries then take the older way by themselves.
_ABSENT: Final[dict[str, tuple[int | None, int | None]]] = {
    "clone3": (435, 435),  # its flags lie in memory, where a filter cannot read them
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "userfaultfd": (323, 282),
}

_EXAMINED: Final[dict[str, tuple[int, int]]] = {
    "clone": (56, 220),
    "socketpair": (53, 199),
    "ioctl": (16, 29),
    "personality": (135, 92),
}

Instruction = tuple[int, int, int, int]
"""(code, jump if true, jump if false, constant) of one ``struct sock_filter``."""


def _errno(number: int) -> int:
    return RET_ERRNO | number


def _argument(index: int) -> int:
    return _OFF_ARGUMENTS + 8 * index


def _guarded(number: int, body: Sequence[Instruction]) -> list[Instruction]:
    """``body`` for one system call; every path of the body returns."""
    return [(_JEQ, 0, len(body), number), *body]


def _deny(number: int, code: int) -> list[Instruction]:
    return _guarded(number, [(_RET, 0, 0, _errno(code))])


def _examined(column: int) -> list[Instruction]:
    """Rules that look at an argument."""
    refuse = (_RET, 0, 0, _errno(errno.EPERM))
    allow = (_RET, 0, 0, RET_ALLOW)
    clone = [(_LOAD, 0, 0, _argument(0)), (_JSET, 0, 1, _CLONE_NEW), refuse, allow]
    # Connected pairs only. A datagram socket could still be sent to any path-named socket in a mount.
    pair = [
        (_LOAD, 0, 0, _argument(0)),
        (_JEQ, 1, 0, int(socket.AF_UNIX)),
        refuse,
        (_LOAD, 0, 0, _argument(1)),
        (_AND, 0, 0, _SOCK_TYPE_MASK),
        (_JEQ, 2, 0, 1),  # SOCK_STREAM
        (_JEQ, 1, 0, 5),  # SOCK_SEQPACKET
        refuse,
        allow,
    ]
    # Pushing input into a terminal that is shared with the host.
    terminal = [
        (_LOAD, 0, 0, _argument(1)),
        (_JEQ, 1, 0, _TIOCSTI),
        (_JEQ, 0, 1, _TIOCLINUX),
        refuse,
        allow,
    ]
    personality = [
        (_LOAD, 0, 0, _argument(0)),
        (_JEQ, 2, 0, 0),
        (_JEQ, 1, 0, _PERSONALITY_QUERY),
        refuse,
        allow,
    ]
    bodies = {"clone": clone, "socketpair": pair, "ioctl": terminal, "personality": personality}
    return [step for name, body in bodies.items() for step in _guarded(_EXAMINED[name][column], body)]


_FOR_NETWORK: Final = frozenset({"socket", "connect", "bind", "listen", "accept", "accept4"})
_FOR_DEVICES: Final = frozenset({"socket", "bind", "listen"})
"""CUDA's managed memory listens on an unconnected unix socket of its own (seen with driver 580; without it
``cudaMallocManaged`` fails). Nothing can connect to it: the network namespace is private and ``connect`` and
``accept`` stay refused."""


def _inet_only(number: int) -> list[Instruction]:
    """``socket``: IPv4 or IPv6, a stream or datagrams. Libraries take "no such family" calmly."""
    body = [
        (_LOAD, 0, 0, _argument(0)),
        (_JEQ, 2, 0, 2),  # AF_INET
        (_JEQ, 1, 0, 10),  # AF_INET6
        (_RET, 0, 0, _errno(errno.EAFNOSUPPORT)),
        (_LOAD, 0, 0, _argument(1)),
        (_AND, 0, 0, _SOCK_TYPE_MASK),
        (_JEQ, 2, 0, 1),  # SOCK_STREAM
        (_JEQ, 1, 0, 2),  # SOCK_DGRAM
        (_RET, 0, 0, _errno(errno.EPERM)),
        (_RET, 0, 0, RET_ALLOW),
    ]
    return _guarded(number, body)


def _unix_streams_only(number: int) -> list[Instruction]:
    """``socket``: unix streams only. A datagram could be sent to any path-named socket in a mount."""
    body = [
        (_LOAD, 0, 0, _argument(0)),
        (_JEQ, 1, 0, int(socket.AF_UNIX)),
        (_RET, 0, 0, _errno(errno.EPERM)),
        (_LOAD, 0, 0, _argument(1)),
        (_AND, 0, 0, _SOCK_TYPE_MASK),
        (_JEQ, 2, 0, 1),  # SOCK_STREAM
        (_JEQ, 1, 0, 5),  # SOCK_SEQPACKET
        (_RET, 0, 0, _errno(errno.EPERM)),
        (_RET, 0, 0, RET_ALLOW),
    ]
    return _guarded(number, body)


def instructions(machine: str, *, network: bool = False, devices: bool = False) -> list[Instruction]:
    """The filter for one architecture (``x86_64`` or ``aarch64``).

    Args:
        network: Let the program make connections of its own.
        devices: Let it have what drivers of accelerators need (unix sockets that nothing can connect to).

    Raises:
        KeyError: for another architecture.
    """
    column = {"x86_64": 0, "aarch64": 1}[machine]
    program: list[Instruction] = [
        (_LOAD, 0, 0, _OFF_ARCH),
        (_JEQ, 1, 0, AUDIT_ARCH[machine]),
        (_RET, 0, 0, RET_KILL_PROCESS),
        (_LOAD, 0, 0, _OFF_NUMBER),
        # x32 (bit 30) and everything newer than this list.
        (_JGT, 0, 1, LAST_REVIEWED),
        (_RET, 0, 0, _errno(errno.ENOSYS)),
    ]
    program += _examined(column)
    left_out = (_FOR_NETWORK if network else frozenset()) | (_FOR_DEVICES if devices else frozenset())
    if network:
        program += _inet_only(_number("socket", column))
    elif devices:
        program += _unix_streams_only(_number("socket", column))
    for table, code in ((_DENIED, errno.EPERM), (_ABSENT, errno.ENOSYS)):
        for name, numbers in table.items():
            number = numbers[column]
            if number is not None and name not in left_out:
                program += _deny(number, code)
    program.append((_RET, 0, 0, RET_ALLOW))
    return program


def _number(name: str, column: int) -> int:
    number = _DENIED[name][column]
    if number is None:
        raise KeyError(name)
    return number


def filter_program(machine: str, *, network: bool = False, devices: bool = False) -> bytes:
    """The filter as an array of ``struct sock_filter``."""
    steps = instructions(machine, network=network, devices=devices)
    return b"".join(struct.pack("<HBBI", *step) for step in steps)


def denied_numbers(machine: str) -> dict[str, int]:
    """Every system call that is refused whatever its arguments, with its number on this architecture."""
    column = {"x86_64": 0, "aarch64": 1}[machine]
    both = {**_DENIED, **_ABSENT}
    return {name: number for name, pair in both.items() if (number := pair[column]) is not None}


def known_numbers(machine: str) -> dict[str, int]:
    """Every system call that this list knows, those whose arguments are looked at included.

    Empty for an architecture without a list.
    """
    if machine not in AUDIT_ARCH:
        return {}
    column = {"x86_64": 0, "aarch64": 1}[machine]
    return denied_numbers(machine) | {name: pair[column] for name, pair in _EXAMINED.items()}


def simulate(program: bytes, *, architecture: int, number: int, arguments: Sequence[int] = ()) -> int:
    """What the kernel would answer to one system call: a ``RET_*`` value, or ``RET_ERRNO | errno``.

    A small interpreter of the subset of classic BPF that :func:`filter_program` uses, so that the filter of
    an architecture can be checked on any other.

    Raises:
        ValueError: for an instruction outside that subset or a jump out of the program.
    """
    padded = [*arguments, *([0] * (6 - len(arguments)))]
    data = struct.pack("<IIQ6Q", number, architecture, 0, *(value & (2**64 - 1) for value in padded))
    steps = list(struct.iter_unpack("<HBBI", program))
    position, accumulator = 0, 0
    while position < len(steps):
        code, if_true, if_false, constant = steps[position]
        position += 1
        if code == _RET:
            return int(constant)
        if code == _LOAD:
            accumulator = struct.unpack_from("<I", data, constant)[0]
        elif code == _AND:
            accumulator &= constant
        elif code in (_JEQ, _JGT, _JGE, _JSET):
            position += if_true if _holds(code, accumulator, constant) else if_false
        else:
            raise ValueError(f"unknown instruction code {code:#x}")
    raise ValueError("the program ends without a verdict")


def _holds(code: int, accumulator: int, constant: int) -> bool:
    if code == _JEQ:
        return accumulator == constant
    if code == _JGT:
        return accumulator > constant
    if code == _JGE:
        return accumulator >= constant
    return bool(accumulator & constant)
