"""The system-call filter, judged instruction by instruction; no kernel takes part."""

from __future__ import annotations

import errno
import platform
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.sandbox.seccomp import (
    AUDIT_ARCH,
    LAST_REVIEWED,
    RET_ALLOW,
    RET_ERRNO,
    RET_KILL_PROCESS,
    denied_numbers,
    filter_program,
    instructions,
    simulate,
)

pytestmark = pytest.mark.unit

MACHINES = ["x86_64", "aarch64"]
CLONE = {"x86_64": 56, "aarch64": 220}
SOCKETPAIR = {"x86_64": 53, "aarch64": 199}
IOCTL = {"x86_64": 16, "aarch64": 29}
PERSONALITY = {"x86_64": 135, "aarch64": 92}
EVERYDAY = {
    "x86_64": {"read": 0, "write": 1, "mmap": 9, "futex": 202, "openat": 257, "execve": 59, "wait4": 61},
    "aarch64": {"read": 63, "write": 64, "mmap": 222, "futex": 98, "openat": 56, "execve": 221, "wait4": 260},
}


def answer(machine: str, number: int, *arguments: int) -> int:
    return simulate(
        filter_program(machine), architecture=AUDIT_ARCH[machine], number=number, arguments=arguments
    )


@pytest.mark.parametrize("machine", MACHINES)
def test_everyday_calls_are_allowed(machine: str) -> None:
    for name, number in EVERYDAY[machine].items():
        assert answer(machine, number) == RET_ALLOW, name


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    "name",
    [
        "ptrace",
        "process_vm_readv",
        "process_vm_writev",
        "mount",
        "umount2",
        "move_mount",
        "open_tree",
        "fsopen",
        "pivot_root",
        "bpf",
        "keyctl",
        "add_key",
        "request_key",
        "unshare",
        "setns",
        "kexec_load",
        "kexec_file_load",
        "perf_event_open",
        "open_by_handle_at",
        "socket",
        "connect",
        "memfd_create",
    ],
)
def test_dangerous_calls_are_refused(machine: str, name: str) -> None:
    assert answer(machine, denied_numbers(machine)[name]) == RET_ERRNO | errno.EPERM


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", ["clone3", "io_uring_setup", "io_uring_enter", "userfaultfd"])
def test_calls_with_an_older_substitute_seem_not_to_exist(machine: str, name: str) -> None:
    assert answer(machine, denied_numbers(machine)[name]) == RET_ERRNO | errno.ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    "flag", [0x1000_0000, 0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x2000_0000, 0x4000_0000]
)
def test_clone_makes_threads_and_processes_but_no_namespace(machine: str, flag: int) -> None:
    threads = 0x3D0F00
    assert answer(machine, CLONE[machine], threads) == RET_ALLOW
    assert answer(machine, CLONE[machine], 17) == RET_ALLOW
    assert answer(machine, CLONE[machine], 17 | flag) == RET_ERRNO | errno.EPERM
    assert answer(machine, CLONE[machine], threads | flag) == RET_ERRNO | errno.EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_only_connected_unix_pairs_can_be_made(machine: str) -> None:
    close_on_exec = 0o2000000
    assert answer(machine, SOCKETPAIR[machine], 1, 1) == RET_ALLOW
    assert answer(machine, SOCKETPAIR[machine], 1, 5 | close_on_exec) == RET_ALLOW
    refused = RET_ERRNO | errno.EPERM
    assert answer(machine, SOCKETPAIR[machine], 1, 2) == refused, "datagrams can be sent to any named socket"
    assert answer(machine, SOCKETPAIR[machine], 1, 2 | close_on_exec) == refused
    assert answer(machine, SOCKETPAIR[machine], 2, 1) == refused


@pytest.mark.parametrize("machine", MACHINES)
def test_terminal_input_cannot_be_pushed_even_with_garbage_in_the_upper_half(machine: str) -> None:
    refused = RET_ERRNO | errno.EPERM
    assert answer(machine, IOCTL[machine], 0, 0x5412) == refused
    assert answer(machine, IOCTL[machine], 0, 0x541C) == refused
    assert answer(machine, IOCTL[machine], 0, (1 << 40) | 0x5412) == refused
    assert answer(machine, IOCTL[machine], 0, 0x5401) == RET_ALLOW


@pytest.mark.parametrize("machine", MACHINES)
def test_personality_can_be_asked_but_not_changed(machine: str) -> None:
    assert answer(machine, PERSONALITY[machine], 0xFFFF_FFFF) == RET_ALLOW
    assert answer(machine, PERSONALITY[machine], 0) == RET_ALLOW
    assert answer(machine, PERSONALITY[machine], 0x0400000) == RET_ERRNO | errno.EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_a_foreign_abi_ends_the_process(machine: str) -> None:
    program = filter_program(machine)
    for architecture in (0x40000003, 0x40000028, *(set(AUDIT_ARCH.values()) - {AUDIT_ARCH[machine]})):
        for number in (0, 1, 20, 26, 101):
            assert simulate(program, architecture=architecture, number=number) == RET_KILL_PROCESS


@given(number=st.integers(min_value=LAST_REVIEWED + 1, max_value=2**32 - 1))
def test_calls_that_the_list_does_not_know_do_not_exist_x32_included(number: int) -> None:
    for machine in MACHINES:
        assert answer(machine, number) == RET_ERRNO | errno.ENOSYS


@given(number=st.integers(min_value=0, max_value=LAST_REVIEWED), data=st.data())
def test_every_call_gets_exactly_the_verdict_of_the_tables(number: int, data: st.DataObject) -> None:
    machine = data.draw(st.sampled_from(MACHINES))
    examined = {CLONE[machine], SOCKETPAIR[machine], IOCTL[machine], PERSONALITY[machine]}
    if number in examined:
        return
    refused = number in denied_numbers(machine).values()
    assert (answer(machine, number) != RET_ALLOW) == refused


@pytest.mark.parametrize("machine", MACHINES)
def test_the_program_is_small_and_jumps_only_forward_within_itself(machine: str) -> None:
    steps = instructions(machine)
    assert len(steps) < 4096, "the kernel takes no more"
    assert len(filter_program(machine)) == 8 * len(steps)
    for index, (code, if_true, if_false, _) in enumerate(steps):
        if code & 0x07 == 0x05:
            assert index + 1 + max(if_true, if_false) < len(steps)


def test_the_interpreter_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="unknown instruction"):
        simulate(struct.pack("<HBBI", 0x99, 0, 0, 0), architecture=0, number=0)
    with pytest.raises(ValueError, match="without a verdict"):
        simulate(b"", architecture=0, number=0)


def test_an_unknown_machine_has_no_filter() -> None:
    with pytest.raises(KeyError):
        filter_program("riscv64")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the header is for x86_64")
def test_our_numbers_agree_with_this_systems_header() -> None:
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("no kernel headers here")
    known = {name: int(value) for name, value in re.findall(r"__NR_(\w+)\s+(\d+)", header.read_text())}
    ours = denied_numbers("x86_64")
    assert {name: number for name, number in ours.items() if known.get(name, number) != number} == {}
