"""Which runs a watched machine disturbs, and when a run may start."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlx_chain.errors import VerifierFault
from verifier.machine import limits
from verifier.machine.monitor import MachineWatch, Pace
from verifier.machine.reading import Power, ProcessKey, Reading, describe, others_cores, public_state
from verifier.machine.sensors import LinuxSensors, MacSensors, NvidiaSensors

pytestmark = pytest.mark.unit

OTHER = ProcessKey(7, 1)
CALM = Reading(
    at=0.0,
    cores=2,
    heat=0,
    throttled={"cpu0 core": 5.0},
    temperature=40.0,
    power=Power.MAINS,
    outside={OTHER: 100.0},
    gpu_others=(),
    available_bytes=8 << 30,
    memory_bytes=16 << 30,
    swapped_in_bytes=0,
)


class Machine:
    """A simulated machine: its time passes only while somebody waits or a run goes on."""

    def __init__(self, state: Reading = CALM) -> None:
        self.state = state
        self.now = 0.0
        self.load = 0.0
        self.waits = 0
        self.cooling = 0.0
        self.heat_asked = threading.Event()
        self.during = 0
        self.leaving = False
        self.quiet_after = 1 << 30

    def read(self) -> Reading:
        return replace(self.state, at=self.now)

    def heat(self) -> int | None:
        self.heat_asked.set()
        return self.during

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.waits += 1
        if self.waits >= self.quiet_after:
            self.load = 0.0
        if self.leaving:
            self.state = replace(self.state, gpu_others=())
        used = dict(self.state.outside or {})
        if used:
            used[OTHER] += self.load * seconds
        warm = self.state.temperature
        cooler = None if warm is None else max(40.0, warm - self.cooling * seconds)
        self.state = replace(self.state, outside=used or None, temperature=cooler)

    def watch(self, clock: str = "wall", *, sample: float = 3600.0) -> MachineWatch:
        self.said: list[str] = []
        pace = Pace(clock=lambda: self.now, sleep=self.pass_time, sample=sample)
        return MachineWatch(self, clock=clock, say=self.said.append, pace=pace)


def run(
    machine: Machine, watch: MachineWatch, *, seconds: float = 300.0, **changes: object
) -> tuple[str, ...]:
    watch.settle()
    watch.begin()
    machine.pass_time(seconds)
    machine.state = replace(machine.state, **changes)  # type: ignore[arg-type]
    return watch.end()


def test_a_calm_machine_disturbs_nothing_and_nobody_waits_between_runs() -> None:
    machine = Machine()
    watch = machine.watch()
    assert [run(machine, watch) for _ in range(3)] == [(), (), ()]
    assert machine.said == []
    assert machine.waits == 6  # three runs, each after one look at the load
    cpu = Machine()
    watch = cpu.watch("cpu")
    assert [run(cpu, watch) for _ in range(3)] == [(), (), ()]
    assert cpu.waits == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"slept": 7.0}, "slept for 7 s"),
        ({"heat": 2}, "grew hot (thermal level 2"),
        ({"throttled": {"cpu0 core": 12.0}}, "slowed by heat for 7 s of 300 s"),
        ({"power": Power.BATTERY}, "changed from mains to battery"),
        ({"gpu_others": ("9 (game)",)}, "computed on the GPU: 9 (game)"),
        ({"outside": {OTHER: 400.0}}, "used 1.0 of 2 processor cores"),
        ({"swapped_in_bytes": 1 << 30}, "1024 MiB back from swap"),
    ],
)
def test_each_disturbance_has_a_sentence_of_its_own(changes: dict[str, object], words: str) -> None:
    machine = Machine()
    (found,) = run(machine, machine.watch(), **changes)
    assert words in found


@pytest.mark.parametrize(
    "changes",
    [
        {"slept": 0.3},
        {"throttled": {"cpu0 core": 9.0}},
        {"throttled": {"cpu0 core": 5.0, "cpu1 core": 900.0}},
        {"outside": {OTHER: 220.0}},
        {"outside": {OTHER: 110.0, ProcessKey(8, 2): 30.0}},
        {"temperature": 95.0},
        {"available_bytes": 0},
        {"swapped_in_bytes": 100 << 20},
        {"gpu_others": None, "heat": None, "power": None, "outside": None, "throttled": None},
    ],
)
def test_light_use_and_missing_sensors_void_nothing(changes: dict[str, object]) -> None:
    machine = Machine()
    assert run(machine, machine.watch(), **changes) == ()


def test_on_the_processors_own_clock_others_and_swap_do_not_count() -> None:
    machine = Machine()
    busy = {"outside": {OTHER: 700.0}, "swapped_in_bytes": 9 << 30}
    assert run(machine, machine.watch("cpu"), **busy) == ()


def test_load_counts_from_what_was_usual_when_the_session_began() -> None:
    machine = Machine(replace(CALM, cores=8))
    machine.load = 3.0
    watch = machine.watch()
    assert run(machine, watch) == ()
    machine.load = 4.9
    watch.begin()
    machine.pass_time(300.0)
    assert watch.end() == ()
    machine.load = 5.2
    watch.begin()
    machine.pass_time(300.0)
    assert len(watch.end()) == 1


def test_a_session_begun_on_mains_does_not_go_on_quietly_on_battery() -> None:
    machine = Machine()
    watch = machine.watch()
    assert run(machine, watch) == ()
    machine.state = replace(machine.state, power=Power.BATTERY)
    (sentence,) = run(machine, watch)
    assert "ran on battery; when the session began it ran on mains" in sentence


def test_a_program_that_is_just_leaving_the_gpu_disturbs_nothing() -> None:
    machine = Machine()
    watch = machine.watch()
    watch.settle()
    watch.begin()
    machine.state, machine.leaving = replace(machine.state, gpu_others=("4711 (python3)",)), True
    assert watch.end() == ()


def test_heat_that_came_and_went_during_a_run_is_seen() -> None:
    machine = Machine()
    machine.during = 1
    watch = machine.watch(sample=0.01)
    watch.settle()
    watch.begin()
    assert machine.heat_asked.wait(60)
    assert watch.end() == ("the machine grew hot (thermal level 1, 0 is nominal)",)


def test_a_run_waits_until_the_machine_has_cooled_and_says_so_once() -> None:
    machine = Machine()
    watch = machine.watch()
    assert run(machine, watch) == ()
    machine.state = replace(machine.state, temperature=90.0)
    machine.cooling = 0.5
    watch.settle()
    assert machine.state.temperature is not None
    assert machine.state.temperature <= 40 + limits.TEMPERATURE_RISE
    assert machine.said == ["waiting: it is warmer than when the session began"]


def test_a_run_on_the_wall_clock_waits_until_others_are_done() -> None:
    machine = Machine()
    watch = machine.watch()
    assert run(machine, watch) == ()
    machine.load = 2.0
    machine.quiet_after = machine.waits + 4
    watch.settle()
    assert machine.said == ["waiting: other programs keep the processor busy"]
    assert machine.load == 0.0
    patient = Machine()
    watch = patient.watch("cpu")
    assert run(patient, watch) == ()
    patient.load = 2.0
    watch.settle()
    assert patient.said == []


def test_a_chip_that_cools_no_further_is_cool_enough() -> None:
    machine = Machine()
    watch = machine.watch()
    assert run(machine, watch) == ()
    machine.state, began = replace(machine.state, temperature=70.0), machine.now
    watch.settle()
    assert limits.COOLING_SECONDS <= machine.now - began < 3 * limits.COOLING_SECONDS


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"heat": 1}, "the system reports heat"),
        ({"available_bytes": 1 << 30}, "less than half the memory"),
        ({"gpu_others": ("9 (game)",)}, "another program computes on the GPU: 9 (game)"),
    ],
)
def test_a_machine_that_finds_no_rest_ends_as_the_verifiers_own_fault(
    changes: dict[str, object], words: str
) -> None:
    machine = Machine()
    watch = machine.watch()
    assert run(machine, watch) == ()
    machine.state, began = replace(machine.state, **changes), machine.now  # type: ignore[arg-type]
    with pytest.raises(VerifierFault, match="does not come to rest") as caught:
        watch.settle()
    assert words in caught.value.message
    assert limits.PATIENCE_SECONDS <= machine.now - began <= limits.PATIENCE_SECONDS + 2 * limits.LOOK_SECONDS


def test_the_end_of_a_run_that_never_began_says_nothing() -> None:
    assert Machine().watch().end() == ()


@given(st.floats(0, 50), st.floats(0, 50), st.floats(0.1, 1000))
def test_load_by_others_is_never_negative_and_needs_two_readings(
    first: float, second: float, took: float
) -> None:
    before, after = replace(CALM, outside={OTHER: first}), replace(CALM, at=took, outside={OTHER: second})
    assert (others_cores(before, after) or 0) >= 0
    assert others_cores(replace(before, outside=None), after) is None
    assert others_cores(after, before) is None


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 100), st.booleans())
def test_what_an_ended_process_used_before_is_not_load_of_now(
    before: float, inherited: float, used: float, waited: bool
) -> None:
    child = ProcessKey(8, 1)
    first = replace(CALM, outside={OTHER: 5.0, child: before}, ended={OTHER: 2.0, child: inherited})
    grown = before + inherited + used if waited else 0.0
    then = replace(CALM, at=10.0, outside={OTHER: 6.0}, ended={OTHER: 2.0 + grown})
    assert others_cores(first, then) == pytest.approx(0.1 + (used / 10 if waited else 0), abs=1e-6)


SPIN = "import time\nuntil = time.process_time() + 0.4\nwhile time.process_time() < until: pass"
CHILD = SPIN + "\nprint(flush=True)\ninput()"
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=-1, stdout=-1)
child.stdout.readline()
print(child.pid, flush=True)
input()
child.communicate(b"\\n")
print(flush=True)
input()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_end_of_a_long_job_is_no_load() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdin=-1, stdout=-1, text=True)
    assert parent.stdin is not None
    assert parent.stdout is not None
    try:
        pids = {parent.pid, int(parent.stdout.readline())}
        before = _only(LinuxSensors(own=2**30).read(), pids)
        parent.stdin.write("\n")
        parent.stdin.flush()
        parent.stdout.readline()
        after = _only(LinuxSensors(own=2**30).read(), pids)
    finally:
        parent.communicate("\n", timeout=60)
    assert sum((before.outside or {}).values()) >= 0.4
    assert sum(after.ended.values()) >= 0.4, "the parent inherits what its child used"
    assert (others_cores(before, after) or 0) * (after.at - before.at) < 0.3


def _only(reading: Reading, pids: set[int]) -> Reading:
    outside = {key: used for key, used in (reading.outside or {}).items() if key.pid in pids}
    return replace(
        reading, outside=outside, ended={key: used for key, used in reading.ended.items() if key.pid in pids}
    )


def test_what_is_not_available_is_said_to_be_unavailable() -> None:
    words = describe(Reading(at=0.0))
    assert set(words.values()) == {"unavailable"}
    assert describe(CALM)["temperature"] == "40 °C"


def test_what_else_runs_on_a_machine_is_never_published() -> None:
    state = public_state(replace(CALM, gpu_others=("9 (secret)",)))
    assert state == {"thermal level": "nominal", "power source": "mains"}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_our_own_children_are_not_others_and_others_are() -> None:
    spinner = subprocess.Popen(
        [sys.executable, "-c", SPIN + "\nprint(flush=True)\ninput()"], stdin=-1, stdout=-1
    )
    assert spinner.stdin is not None
    assert spinner.stdout is not None
    try:
        spinner.stdout.readline()
        pids = {key.pid: used for key, used in (LinuxSensors(own=spinner.pid).read().outside or {}).items()}
        assert spinner.pid not in pids
        assert os.getpid() in pids
        ours = {key.pid for key in LinuxSensors().read().outside or {}}
        assert not ours & {spinner.pid, os.getpid()}
        seen_from_it = {key.pid: used for key, used in (LinuxSensors(own=1).read().outside or {}).items()}
        assert spinner.pid not in seen_from_it  # everything is below the first process
    finally:
        spinner.stdin.close()
        spinner.wait(60)
        spinner.stdout.close()


def test_linux_files_are_read_where_they_are(tmp_path) -> None:  # type: ignore[no-untyped-def]
    files = {
        "proc/meminfo": "MemTotal: 100 kB\nMemAvailable: 50 kB\n",
        "proc/vmstat": "pswpin 2\n",
        "proc/9/stat": "9 (x) S 1 9 9 0 -1 0 0 0 0 0 100 0 0 0 20 0 1 0 5 0 0\n",
        "sys/class/thermal/thermal_zone0/type": "acpitz\n",
        "sys/class/thermal/thermal_zone0/temp": "99000\n",
        "sys/class/thermal/thermal_zone1/type": "x86_pkg_temp\n",
        "sys/class/thermal/thermal_zone1/temp": "61500\n",
        "sys/class/power_supply/AC/type": "Mains\n",
        "sys/class/power_supply/AC/online": "1\n",
        "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_total_time_ms": "2500\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = LinuxSensors(root=tmp_path).read()
    assert (found.temperature, found.power, found.throttled) == (61.5, Power.MAINS, {"cpu0 package": 2.5})
    assert (found.available_bytes, found.memory_bytes) == (50 * 1024, 100 * 1024)
    assert found.outside == {ProcessKey(9, 5): 100 / os.sysconf("SC_CLK_TCK")}
    assert LinuxSensors(root=tmp_path / "empty").read().power is None


def test_a_mac_is_read_through_its_own_tools() -> None:
    answers = {
        "/usr/bin/pmset therm": "CPU_Speed_Limit = 80\n",
        "/usr/bin/pmset batt": "Now drawing from 'Battery Power'\n",
        "/usr/bin/notifyutil com.apple.system.thermalpressurelevel": (
            "com.apple.system.thermalpressurelevel 0\n"
        ),
        "/usr/bin/vm_stat": "(page size of 16384 bytes)\nPages free: 10.\nSwapins: 3.\n",
        "/usr/sbin/sysctl hw.memsize": "17179869184\n",
        "/bin/ps pid=,ppid=,time=": "1 0 0:10.00\n50 1 0:02.00\n60 50 0:03.00\n70 1 0:04.50\n",
    }

    def command(argv):  # type: ignore[no-untyped-def]
        return answers.get(argv[0] if len(argv) == 1 else f"{argv[0]} {argv[-1]}", "")

    found = MacSensors(command, own=50).read()
    assert (found.heat, found.power, found.swapped_in_bytes) == (1, Power.BATTERY, 3 * 16384)
    assert (found.available_bytes, found.memory_bytes) == (10 * 16384, 16 << 30)
    assert found.outside == {ProcessKey(1, 0): 10.0, ProcessKey(70, 0): 4.5}
    nothing = MacSensors(lambda argv: "").read()
    assert (nothing.heat, nothing.power, nothing.outside, nothing.available_bytes) == (None, None, None, None)


def test_a_gpu_machine_adds_what_its_driver_says() -> None:
    answers = {
        "index": "0\n",
        "index,temperature.gpu": "0, 50\n",
        "index,clocks_event_reasons_counters.sw_thermal_slowdown,"
        "clocks_event_reasons_counters.hw_thermal_slowdown": "0, 1000000, 0\n",
        "pid,process_name": "11, python3\n12, /usr/bin/game\n",
    }

    def command(argv):  # type: ignore[no-untyped-def]
        return answers.get(argv[1].partition("=")[2], "")

    found = NvidiaSensors(Machine(), command, parents=lambda: {11: 10, 12: 1}, own=10).read()
    assert (found.temperature, found.gpu_others) == (50, ("12 (game)",))
    assert found.throttled == {"cpu0 core": 5.0, "GPU 0": 1.0}
    assert found.heat is None  # the driver counts the time; the present moment says less
    older = dict(answers) | {"index,clocks_throttle_reasons.active": "0, 0x0000000000000020\n"}
    del older[next(key for key in older if "counters" in key)]
    hot = NvidiaSensors(Machine(), lambda argv: older.get(argv[1].partition("=")[2], ""), parents=dict).read()
    assert hot.heat == 1
    gone = NvidiaSensors(Machine(), lambda argv: "", parents=dict).read()
    assert (gone.temperature, gone.gpu_others, gone.heat) == (None, None, None)
