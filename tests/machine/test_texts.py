"""What systems print about heat, power, memory and load, in the forms that they really use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.machine import texts
from verifier.machine.reading import Power, ProcessKey

pytestmark = pytest.mark.unit

APPLE_SILICON = """Note: No thermal warning level has been recorded
Note: No performance warning level has been recorded
Note: No CPU power status has been recorded
"""
INTEL_COOL = """Note: No thermal warning level has been recorded
Note: No performance warning level has been recorded
2025-03-04 10:11:12 +0100 CPU Power notify
\tCPU_Scheduler_Limit \t= 100
\tCPU_Available_CPUs \t= 8
\tCPU_Speed_Limit \t= 100
"""
INTEL_HOT = INTEL_COOL.replace("CPU_Speed_Limit \t= 100", "CPU_Speed_Limit \t= 62")
WARNED = "Thermal Warning Level = 2\nNote: No performance warning level has been recorded\n"


@pytest.mark.parametrize(
    ("text", "level"),
    [(APPLE_SILICON, 0), (INTEL_COOL, 0), (INTEL_HOT, 1), (WARNED, 1), ("", None), ("pmset: usage", None)],
)
def test_power_management_tells_whether_the_processor_is_slowed(text, level):
    assert texts.thermal_limits(text) == level


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("com.apple.system.thermalpressurelevel 0\n", 0),
        ("com.apple.system.thermalpressurelevel 2\n", 2),
        ("notifyutil: no such key\n", None),
    ],
)
def test_the_thermal_pressure_is_a_level(text, level):
    assert texts.thermal_pressure(text) == level


@pytest.mark.parametrize(
    ("text", "power"),
    [
        (
            "Now drawing from 'AC Power'\n -InternalBattery-0 (id=21823587)\t100%; charged; 0:00 remaining\n",
            Power.MAINS,
        ),
        (
            "Now drawing from 'Battery Power'\n -InternalBattery-0 (id=4653155)\t64%; discharging; 5:33\n",
            Power.BATTERY,
        ),
        ("Now drawing from 'AC Power'\n", Power.MAINS),
        ("Now drawing from 'UPS Power'\n", None),
        ("", None),
    ],
)
def test_a_mac_says_what_it_draws_from(text, power):
    assert texts.mac_power(text) is power


VM_STAT = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                              114733.
Pages active:                            923746.
Pages inactive:                          877342.
Pages speculative:                        43214.
Pages wired down:                        187263.
"Translation faults":                4329847398.
Swapins:                                   1024.
Swapouts:                                  4096.
"""


def test_vm_stat_counts_in_pages_of_the_size_it_names():
    pages = texts.vm_stat(VM_STAT)
    assert pages["Swapins"] == 1024 * 16384
    assert pages["Translation faults"] == 4329847398 * 16384
    assert texts.mac_available(pages) == (114733 + 877342 + 43214) * 16384
    assert texts.vm_stat("no page size here") == {}
    assert texts.mac_available({}) is None


BSD_PS = "    1     0  12:34.56\n  501     1 101:02.03\n  777   501   0:00.10\nPID PPID TIME\n"
PROCPS = "      1       0 00:01:02\n   4711       1 2-03:04:05\n"


def test_processor_times_are_read_in_both_spellings():
    assert texts.process_times(BSD_PS) == {1: (0, 754.56), 501: (1, 6062.03), 777: (501, 0.1)}
    assert texts.process_times(PROCPS) == {1: (0, 62.0), 4711: (1, 183845.0)}
    german = BSD_PS.replace(".", ",")
    assert texts.process_times(german) == texts.process_times(BSD_PS)


STAT = (
    "4242 (we) ird ) name) S 17 4242 4242 0 -1 4194560 2100 40 0 0 150 50 25 75 20 0 4 0 991234 "
    "1000 200 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n"
)


def test_a_process_may_have_any_name_and_its_ended_children_count():
    assert texts.stat_line(STAT) == (ProcessKey(4242, 991234), 17, 2.0, 1.0)


@pytest.mark.parametrize("text", ["", "1 (x) S", "x (y) " + "1 " * 30, "1 (x) S 1 " + "a " * 30])
def test_a_process_line_cut_short_or_garbled_is_no_process(text):
    assert texts.stat_line(text) is None


def test_linux_memory_and_swap_are_read_in_their_units():
    assert texts.meminfo("MemTotal:       24684092 kB\nHugePages_Total:       0\n") == {
        "MemTotal": 24684092 * 1024
    }
    assert texts.swapped_in_pages("pgpgin 1\npswpin 77\npswpout 3\n") == 77
    assert texts.swapped_in_pages("pgpgin 1\n") is None


ADAPTER_ON = {"type": "Mains", "online": "1", "status": "", "scope": ""}
ADAPTER_OFF = ADAPTER_ON | {"online": "0"}
DISCHARGING = {"type": "Battery", "online": "", "status": "Discharging", "scope": "System"}
MOUSE = {"type": "Battery", "online": "", "status": "Discharging", "scope": "Device"}


@pytest.mark.parametrize(
    ("supplies", "power"),
    [
        ([], None),
        ([MOUSE], None),
        ([ADAPTER_ON, DISCHARGING | {"status": "Full"}], Power.MAINS),
        ([ADAPTER_OFF, DISCHARGING, MOUSE], Power.BATTERY),
        ([DISCHARGING], Power.BATTERY),
        ([DISCHARGING | {"type": "USB", "online": "1"}, DISCHARGING], Power.MAINS),
        ([DISCHARGING | {"status": "Charging"}], None),
    ],
)
def test_linux_runs_on_mains_or_battery_and_a_mouse_decides_nothing(supplies, power):
    assert texts.linux_power(supplies) is power


def test_a_gpus_counters_are_seconds_and_what_it_lacks_is_not_zero():
    columns = texts.csv_rows("0, 1500000, 250000\n1, [N/A], 0\n", 3)
    assert texts.gpu_slowed(columns) == {"GPU 0": 1.75, "GPU 1": 0.0}
    assert texts.gpu_slowed(texts.csv_rows("0, [N/A], [Not Supported]\n", 3)) is None
    assert (
        texts.gpu_slowed(texts.csv_rows('Field "clocks_event…" is not a valid field to query.\n', 3)) is None
    )


@pytest.mark.parametrize(
    ("mask", "level"),
    [
        ("0x0000000000000001", 0),
        ("0x0000000000000004", 0),
        ("0x0000000000000020", 1),
        ("0x0000000000000044", 1),
        ("[N/A]", None),
    ],
)
def test_only_thermal_bits_of_the_clock_reasons_are_heat(mask, level):
    assert texts.gpu_heat(texts.csv_rows(f"0, {mask}\n", 2)) == level


def test_the_hottest_gpu_counts():
    assert texts.gpu_temperature(texts.csv_rows("0, 50\n1, 71\n2, N/A\n", 2)) == 71
    assert texts.gpu_temperature([]) is None


def test_programs_on_the_gpu_are_named_without_what_could_drive_a_terminal():
    rows = texts.csv_rows("4711, /usr/bin/python3.12\n4712, \x1b[2Jevil\n-, [Not Found]\n", 2)
    assert texts.gpu_processes(rows) == {4711: "python3.12", 4712: "[2Jevil"}


@given(st.dictionaries(st.integers(1, 40), st.integers(0, 40), max_size=40), st.integers(1, 40))
def test_a_process_tree_is_closed_under_children_and_holds_nothing_else(parents, root):
    tree = texts.tree_of(root, parents)
    assert root in tree
    assert all(child in tree for child, parent in parents.items() if parent in tree)
    assert all(pid == root or parents[pid] in tree for pid in tree)


@given(st.text())
def test_no_text_makes_a_reader_fail(text):
    rows = texts.csv_rows(text, 2)
    for read in (
        texts.thermal_pressure,
        texts.thermal_limits,
        texts.mac_power,
        texts.vm_stat,
        texts.stat_line,
    ):
        read(text)
    texts.process_times(text), texts.meminfo(text), texts.swapped_in_pages(text)
    texts.gpu_heat(rows), texts.gpu_temperature(rows), texts.gpu_processes(rows)
