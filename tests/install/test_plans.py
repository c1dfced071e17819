"""Plans carried out on a simulated machine: again, killed at every change, and taken back."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from armlx_chain.errors import MachineError
from tests.install.simsystem import UNITS, Killed, SimSystem
from verifier.daemon.install import linux, macos, plists
from verifier.daemon.install.applying import carry_out, look
from verifier.daemon.install.layout import Accounts, Choice, linux_layout, macos_layout
from verifier.daemon.install.steps import Person, Step
from verifier.daemon.install.system import RealSystem

pytestmark = pytest.mark.unit

CHOICE = Choice(Path("/opt/armlx/bin/armlx-validator"), rpc_urls=("https://rpc.example",), polkit=True)
Plan = Callable[[SimSystem], list[Step]]


def chosen(accounts: Accounts) -> Choice:
    return Choice(CHOICE.program, rpc_urls=CHOICE.rpc_urls, polkit=True, accounts=accounts)


def plan_of(system: str, accounts: Accounts) -> Plan:
    if system == "linux":
        return lambda machine: linux.linux_plan(linux_layout(chosen(accounts)))
    layout = macos_layout(chosen(accounts))
    return lambda machine: macos.macos_plan(layout, macos.free_role_id(machine))


def removal_of(system: str, accounts: Accounts) -> list[Step]:
    choice = chosen(accounts)
    if system == "linux":
        return linux.linux_removal(linux_layout(choice))
    return macos.macos_removal(macos_layout(choice))


EVERY = pytest.mark.parametrize("accounts", list(Accounts))
BOTH = pytest.mark.parametrize("system", ["linux", "macos"])


def silent(_: str) -> None:
    return None


@EVERY
@BOTH
def test_carried_out_again_it_finds_nothing_to_do(system: str, accounts: Accounts) -> None:
    machine, plan = SimSystem(), plan_of(system, accounts)
    assert carry_out(plan(machine), machine, silent) > 4
    before = copy.deepcopy(machine.state())
    assert carry_out(plan(machine), machine, silent) == 0
    assert machine.state() == before
    assert {one.state for one in look(plan(machine), machine)} == {"there", "yours"}


@EVERY
@BOTH
def test_killed_at_any_change_the_same_command_goes_on_to_the_same_end(
    system: str, accounts: Accounts
) -> None:
    whole, plan = SimSystem(), plan_of(system, accounts)
    changes = carry_out(plan(whole), whole, silent)
    for number in range(changes):
        machine = SimSystem(fails_after=number)
        with pytest.raises(Killed):
            carry_out(plan(machine), machine, silent)
        machine.fails_after = None
        carry_out(plan(machine), machine, silent)
        assert machine.state() == whole.state(), f"killed at change {number}"


@EVERY
@BOTH
def test_taken_away_no_service_is_left_and_every_key_and_record_is(system: str, accounts: Accounts) -> None:
    machine, plan = SimSystem(), plan_of(system, accounts)
    carry_out(plan(machine), machine, silent)
    layout = linux_layout(chosen(accounts)) if system == "linux" else macos_layout(chosen(accounts))
    mine = {
        layout.signer.home / "keystores" / "validator.json": (b"key", 0o600),
        layout.signer.home / "guard.sqlite": (b"guard", 0o600),
        layout.signer.home / "findings.sqlite": (b"findings", 0o600),
        layout.passphrase: (b"passphrase", 0o600),
    }
    machine.files |= mine
    machine.active = set(machine.enabled)
    for number in range(20):  # killed anywhere, too
        machine.fails_after = number
        try:
            carry_out(removal_of(system, accounts), machine, silent)
        except Killed:
            continue
        break
    machine.fails_after = None
    carry_out(removal_of(system, accounts), machine, silent)
    logs = [] if layout.logs is None else [path for path, _ in plists.log_files(layout)]
    assert set(machine.files) == {*mine, layout.endpoints, *logs}
    assert machine.enabled == machine.active == machine.jobs == set()
    assert not machine.loaded
    assert layout.signer.name in machine.accounts
    assert carry_out(removal_of(system, accounts), machine, silent) == 0


@BOTH
def test_an_operators_endpoints_are_never_overwritten(system: str) -> None:
    machine, plan = SimSystem(), plan_of(system, Accounts.TWO)
    layout = (linux_layout if system == "linux" else macos_layout)(CHOICE)
    own = (b"https://my-node/secret\n", 0o600)
    machine.files[layout.endpoints] = own
    carry_out(plan(machine), machine, silent)
    assert machine.files[layout.endpoints] == own


def test_another_choice_rewrites_the_services_and_has_them_read_again() -> None:
    machine = SimSystem()
    carry_out(linux.linux_plan(linux_layout(CHOICE)), machine, silent)
    other = Choice(Path("/opt/other/armlx-validator"), rpc_urls=CHOICE.rpc_urls, polkit=True)
    plan = linux.linux_plan(linux_layout(other))
    todo = [one.step.title for one in look(plan, machine) if one.state == "to do"]
    assert todo == [
        "write /etc/systemd/system/armlx-validator.service",
        "write /etc/systemd/system/armlx-runner.service",
    ]
    carry_out(plan, machine, silent)
    assert b"/opt/other/armlx-validator run" in machine.loaded["armlx-validator.service"]


@EVERY
@BOTH
def test_no_step_of_a_person_is_ever_carried_out_and_none_asks_for_a_secret(
    system: str, accounts: Accounts
) -> None:
    machine, plan = SimSystem(), plan_of(system, accounts)
    persons = [step for step in plan(machine) if isinstance(step, Person)]
    for step in persons:
        with pytest.raises(RuntimeError):
            step.do(machine)
    carry_out(plan(machine), machine, silent)
    done = {" ".join(words) for words in machine.ran}
    assert not done & {line for step in persons for line in step.commands}
    # The only program that talks with a person makes the account that has to log in.
    assert all(words[0] == "sysadminctl" and words[-2:] == ("-password", "-") for words in machine.asked)
    titles = " ".join(step.title for step in persons)
    assert ("passphrase" in titles) == (accounts is not Accounts.UNSIGNED)


def test_a_program_that_fails_stops_the_plan_with_what_it_said() -> None:
    machine = SimSystem()
    plan = linux.linux_plan(linux_layout(CHOICE))
    enable = next(step for step in plan if "enable" in " ".join(step.shows()))
    with pytest.raises(MachineError) as caught:
        enable.do(machine)
    assert "does not exist" in caught.value.message
    assert "goes on from here" in (caught.value.next_step or "")


def test_something_else_in_a_files_place_is_no_reason_to_overwrite_it() -> None:
    machine = SimSystem(folders={UNITS / "armlx-validator.service": ("root", "root", 0o755)})
    with pytest.raises(MachineError):
        look(linux.linux_plan(linux_layout(CHOICE)), machine)


def test_the_signers_number_on_a_mac_is_one_that_nobody_has() -> None:
    assert macos.free_role_id(SimSystem()) == 398


def test_with_two_accounts_neither_folder_is_open_to_the_other() -> None:
    for system in ("linux", "macos"):
        machine = SimSystem()
        carry_out(plan_of(system, Accounts.TWO)(machine), machine, silent)
        layout = (linux_layout if system == "linux" else macos_layout)(CHOICE)
        for account in (layout.signer, layout.runner):
            owner, _, mode = machine.folders[account.home]
            assert (owner, mode) == (account.name, 0o700)
        assert machine.folders[layout.settings][0] != layout.runner.name
        assert machine.folders[layout.settings][2] == 0o700
        assert machine.files[layout.endpoints][1] == 0o600
        assert layout.signer.name in machine.groups[layout.group]


def test_the_agent_of_a_mac_lies_where_only_the_runners_session_looks() -> None:
    paths = {step.path for step in macos.files(macos_layout(CHOICE))}
    assert PurePosixPath("/Users/armlx-runner/Library/LaunchAgents/org.armlx.runner.plist") in paths
    assert PurePosixPath("/Library/LaunchDaemons/org.armlx.validator.plist") in paths
    assert not any(str(path).startswith("/Library/LaunchAgents") for path in paths)


def test_root_does_nothing_in_a_folder_where_a_service_could_put_a_link(tmp_path: Path) -> None:
    for accounts in Accounts:
        machine = SimSystem()
        carry_out(plan_of("macos", accounts)(machine), machine, silent)
        layout = macos_layout(chosen(accounts))
        assert layout.logs is not None
        assert machine.folders[layout.logs] == ("root", layout.group, 0o750), "root turns over what lies here"
        for path, _ in plists.log_files(layout):
            assert machine.files[path] == (b"", 0o640)
        agents = f"/Users/{layout.runner.name}/Library/LaunchAgents"
        made = [words for words in machine.ran if words[-1] == agents]
        assert [words[:3] for words in made] == [("sudo", "-u", layout.runner.name)]


def test_a_file_is_never_written_or_removed_through_a_link_of_somebody_elses(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "daemons"
    home = root / "Users" / "runner"
    for folder in (home, elsewhere, root / "usr"):
        folder.mkdir(parents=True)
    home.chmod(0o777)  # as good as somebody else's
    (home / "Agents").symlink_to(elsewhere)
    (root / "etc").symlink_to(root / "usr")
    (elsewhere / "a.plist").write_bytes(b"theirs")
    system, path = RealSystem(root), PurePosixPath("/Users/runner/Agents/a.plist")
    with pytest.raises(MachineError, match="cannot be written"):
        system.write(path, b"ours", 0o644, None, None)
    with pytest.raises(MachineError, match="cannot be removed"):
        system.remove(path)
    assert (elsewhere / "a.plist").read_bytes() == b"theirs"
    assert len(list(elsewhere.iterdir())) == 1
    system.write(PurePosixPath("/etc/deep/a.conf"), b"ours", 0o644, None, None)
    assert (root / "usr" / "deep" / "a.conf").read_bytes() == b"ours", "root's own links count"
    system.remove(PurePosixPath("/etc/deep/a.conf"))
    system.remove(PurePosixPath("/etc/nowhere/a.conf"))
    assert not (root / "usr" / "deep" / "a.conf").exists()
