"""systemd's files: what they promise, what they must not hold, and what systemd itself says of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlx_chain.errors import UsageError
from verifier.daemon.install import units
from verifier.daemon.install.layout import Accounts, Choice, linux_layout

PROGRAM = Path("/opt/armlx/bin/armlx-validator")
SECRET = "https://rpc.example/v3/0123456789abcdef0123456789abcdef"
SPLIT = linux_layout(Choice(PROGRAM, rpc_urls=(SECRET,)))
_TOOLS = Path("/usr/bin")


def settings(text: str, section: str = "Service") -> dict[str, list[str]]:
    """A unit's settings of one section."""
    found: dict[str, list[str]] = {}
    body = text.split(f"[{section}]\n")[1].split("\n[")[0]
    for line in body.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


# -- what they promise ----------------------------------------------------------------------------------


@pytest.mark.unit
def test_the_runner_is_told_of_no_key_no_passphrase_and_no_endpoint() -> None:
    text = units.runner_unit(SPLIT)
    for word in (
        "LoadCredential",
        "passphrase",
        "--account",
        "--keystore",
        "rpc",
        "Environment",
        "armlx-signer",
    ):
        assert word not in text
    assert settings(text)["User"] == ["armlx-runner"]


@pytest.mark.unit
@pytest.mark.parametrize("accounts", list(Accounts))
def test_no_secret_stands_in_any_file_that_others_can_read(accounts: Accounts) -> None:
    layout = linux_layout(Choice(PROGRAM, rpc_urls=(SECRET,), accounts=accounts, polkit=True))
    written = [units.signer_unit(layout), units.sysusers(layout), units.tmpfiles(layout)]
    written.append(units.polkit_rules(layout))
    if layout.is_split:
        written.append(units.runner_unit(layout))
    for text in written:
        assert SECRET not in text
        assert "Environment" not in text
    start = settings(units.signer_unit(layout))["ExecStart"][0]
    # Files by name, from a folder that the service manager makes: never the secrets themselves.
    assert "--rpc-url file:${CREDENTIALS_DIRECTORY}/rpc-urls" in start
    assert ("passphrase" in start) == (accounts is not Accounts.UNSIGNED)


@pytest.mark.unit
def test_what_would_break_the_sandbox_is_not_asked_for_and_all_else_is() -> None:
    runner = settings(units.runner_unit(SPLIT))
    for name in (
        "ProtectKernelTunables",
        "ProtectKernelLogs",
        "ProtectProc",
        "ProcSubset",
        "ProtectHostname",
    ):
        assert name not in runner
    for name in ("ProtectControlGroups", "MemoryDenyWriteExecute", "SystemCallArchitectures"):
        assert name not in runner
    assert set(runner["RestrictNamespaces"][0].split()) == {
        "user",
        "mnt",
        "pid",
        "net",
        "ipc",
        "uts",
        "cgroup",
    }
    assert runner["NoNewPrivileges"] == ["yes"]
    assert runner["CapabilityBoundingSet"] == [""]
    assert runner["ProtectSystem"] == ["strict"]
    assert runner["BindPaths"] == [units.LOCKS]
    signer = settings(units.signer_unit(SPLIT))
    assert signer["InaccessiblePaths"] == ["-/var/lib/armlx-runner"]
    assert signer["RestrictNamespaces"] == ["yes"]
    assert signer["UMask"] == ["0077"]


@pytest.mark.unit
def test_a_set_uid_bubblewrap_keeps_the_rights_it_takes_from_its_file() -> None:
    layout = linux_layout(Choice(PROGRAM, setuid_bwrap=True))
    runner, signer = settings(units.runner_unit(layout)), settings(units.signer_unit(layout))
    assert runner["NoNewPrivileges"] == ["no"]
    assert "CapabilityBoundingSet" not in runner
    assert signer["NoNewPrivileges"] == ["yes"]


@pytest.mark.unit
def test_only_a_machine_with_a_gpu_gives_the_runner_its_devices() -> None:
    without, with_gpu = (
        settings(units.runner_unit(linux_layout(Choice(PROGRAM, nvidia=flag)))) for flag in (False, True)
    )
    assert without["PrivateDevices"] == ["yes"]
    assert "DeviceAllow" not in without
    assert with_gpu["DevicePolicy"] == ["closed"]
    assert "char-nvidia-uvm rw" in with_gpu["DeviceAllow"]
    assert "PrivateDevices" not in with_gpu


@pytest.mark.unit
def test_a_stop_leaves_the_daemon_longer_than_it_drains() -> None:
    service = settings(units.signer_unit(SPLIT))
    drain = re.search(r"--drain-seconds (\d+)", service["ExecStart"][0])
    assert drain is not None
    assert int(service["TimeoutStopSec"][0]) > int(drain[1])
    assert service["KillMode"] == ["mixed"]
    # A wrong option or passphrase is as wrong the next time.
    assert service["RestartPreventExitStatus"] == ["2 4"]


@pytest.mark.unit
def test_one_account_signs_only_where_that_was_said() -> None:
    texts = {one: units.signer_unit(linux_layout(Choice(PROGRAM, accounts=one))) for one in Accounts}
    assert {one for one, text in texts.items() if "--one-account" in text} == {Accounts.ONE}
    assert {one for one, text in texts.items() if "--runner " in text} == {Accounts.TWO}


@pytest.mark.unit
@given(st.text(min_size=1, max_size=40))
def test_no_text_reaches_a_unit_that_means_more_there_than_itself(text: str) -> None:
    try:
        choice = Choice(PROGRAM, key=text, network="galileo")
    except UsageError:
        return
    unit = units.signer_unit(linux_layout(choice))
    plain = units.signer_unit(linux_layout(Choice(PROGRAM, key="validator")))
    assert len(unit.splitlines()) == len(plain.splitlines())
    assert not set(text) & set("\n\r%$'\"\\;#")


@pytest.mark.unit
@pytest.mark.parametrize(
    "text", ["a\nUser=root", "a%n", "${HOME}", "a;b", "x'", 'x"', "a\\", "a  b", " a", "a ", "", "é", "a\x00"]
)
def test_injections_are_refused(text: str) -> None:
    for choice in ({"key": text}, {"network": text}, {"storage_urls": (text,)}):
        with pytest.raises(UsageError):
            Choice(PROGRAM, **choice)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        Choice(Path("/opt") / f"x{text}\ny")
    with pytest.raises(UsageError):
        Choice(Path("relative"))


# -- what systemd says ----------------------------------------------------------------------------------


def needs(tool: str) -> str:
    found = shutil.which(tool)
    if found is None:
        pytest.skip(f"no {tool} here")
    return found


def every_unit(folder: Path) -> list[Path]:
    """All units of all kinds of installation, in a folder, with a program that is there."""
    paths = []
    for accounts in Accounts:
        for nvidia, setuid in ((False, False), (True, True)):
            choice = Choice(Path("/bin/true"), accounts=accounts, nvidia=nvidia, setuid_bwrap=setuid)
            layout = linux_layout(choice)
            place = folder / f"{accounts.value}-{nvidia}"
            place.mkdir()
            texts = {units.SIGNER_UNIT: units.signer_unit(layout)}
            if layout.is_split:
                texts[units.RUNNER_UNIT] = units.runner_unit(layout)
            for name, text in texts.items():
                (place / name).write_text(text)
                paths.append(place / name)
    return paths


@pytest.mark.integration
def test_systemd_finds_nothing_wrong_with_any_unit(tmp_path: Path) -> None:
    tool = needs("systemd-analyze")
    for folder in sorted({path.parent for path in every_unit(tmp_path)}):
        told = subprocess.run(
            [tool, "verify", *sorted(str(path) for path in folder.iterdir())],
            capture_output=True, text=True, timeout=120, check=False,
            env={**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:"},
        )  # fmt: skip
        assert told.returncode == 0, told.stderr
        assert not [line for line in told.stderr.splitlines() if str(folder) in line], told.stderr


@pytest.mark.integration
def test_systemd_calls_the_exposure_of_both_services_low(tmp_path: Path) -> None:
    tool = needs("systemd-analyze")
    exposure = {}
    for name, text in (("signer", units.signer_unit(SPLIT)), ("runner", units.runner_unit(SPLIT))):
        path = tmp_path / f"{name}.service"
        path.write_text(text)
        told = subprocess.run(
            [tool, "security", "--offline=true", "--no-pager", str(path)],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        found = re.search(r"Overall exposure level for \S+: (\d+\.\d)", told.stdout)
        if found is None:
            pytest.skip("this systemd does not judge files")
        exposure[name] = float(found[1])
    # Out of ten; 9.6 without any of it. The runner has to make namespaces and mounts.
    assert exposure["signer"] <= 2.0, exposure
    assert exposure["runner"] <= 4.0, exposure


@pytest.mark.integration
def test_systemds_own_tools_make_the_accounts_and_folders(tmp_path: Path) -> None:
    sysusers, tmpfiles = needs("systemd-sysusers"), needs("systemd-tmpfiles")
    if os.geteuid() != 0:
        pytest.skip("folders are given to other accounts")
    # Only what another root folder may show: the lock folder lies in the machine's own /tmp.
    (tmp_path / "etc" / "sysusers.d").mkdir(parents=True)
    (tmp_path / "etc" / "tmpfiles.d").mkdir()
    (tmp_path / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (tmp_path / "etc" / "group").write_text("root:x:0:\n")
    (tmp_path / "etc" / "sysusers.d" / "a.conf").write_text(units.sysusers(SPLIT))
    (tmp_path / "etc" / "tmpfiles.d" / "a.conf").write_text(units.tmpfiles(SPLIT))
    for _ in range(2):  # again is fine
        for tool, more in ((sysusers, []), (tmpfiles, ["--create"])):
            done = subprocess.run(
                [tool, f"--root={tmp_path}", *more, "a.conf"],
                capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
    passwd = (tmp_path / "etc" / "passwd").read_text()
    rows = {row.split(":")[0]: row.split(":") for row in passwd.splitlines()}
    assert rows["armlx-signer"][6].endswith("nologin")
    assert rows["armlx-runner"][5] == "/var/lib/armlx-runner"
    group = {
        row.split(":")[0]: row.split(":")[3] for row in (tmp_path / "etc" / "group").read_text().splitlines()
    }
    assert group["armlx-runner"] == "armlx-signer"
    for name in ("armlx-signer", "armlx-runner"):
        found = (tmp_path / "var" / "lib" / name).stat()
        assert found.st_mode & 0o777 == 0o700
        assert found.st_uid == int(rows[name][2])
    assert (tmp_path / "etc" / "armlx-validator").stat().st_mode & 0o777 == 0o700
