"""An installation tried where it counts: on a real systemd, started as process 1 of its own namespaces.

Nothing of this machine is changed: its files are the lower layer of an overlay that lives in memory, and the
network is a loopback of its own. Root on Linux with systemd, unshare and overlayfs is needed, and a tree that
all accounts can read. Takes about two minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from armlx_chain.devnet.accounts import derive_accounts

REPOSITORY = Path(__file__).resolve().parents[2]
SITE = next(Path(sys.prefix, "lib").glob("python3.*/site-packages"))
BASE = Path(sys.base_prefix)
PASSPHRASE = "canary passphrase 5b1f"
_WAIT_SECONDS = 120.0

_BOOT = """
set -eu
room=$1; mount -t tmpfs tmpfs $room
mkdir $room/upper $room/work $room/root
mount -t overlay overlay -o lowerdir=/,upperdir=$room/upper,workdir=$room/work $room/root
cd $room/root
mkdir -p opt/python opt/armlx/bin opt/armlx/lib/{python}/site-packages .{repository} old
mount --bind {base} opt/python
mount --bind {site} opt/armlx/lib/{python}/site-packages
mount --bind {repository} .{repository}
mount -t proc proc proc; mount -t sysfs sysfs sys -o ro; mount --rbind /dev dev
mount -t tmpfs tmpfs run; mount -t tmpfs -o mode=1777 tmpfs tmp; mount -t cgroup2 none sys/fs/cgroup
ip link set lo up
pivot_root . old; umount -l /old; mount --make-rshared /
rm -rf /etc/systemd/system/*.wants
printf '[Unit]\\nRequires=basic.target\\nAfter=basic.target\\n' > /etc/systemd/system/default.target
for unit in systemd-udevd systemd-sysctl systemd-binfmt systemd-modules-load systemd-networkd; do
  ln -sf /dev/null /etc/systemd/system/$unit.service
done
echo /opt/python/lib > /etc/ld.so.conf.d/000-armlx.conf; ldconfig
ln -sf /opt/python/bin/{python} /opt/armlx/bin/python
printf 'home = /opt/python/bin\\n' > /opt/armlx/pyvenv.cfg
program() {{ printf '#!/opt/armlx/bin/python\\nfrom %s import main\\nmain()\\n' $2 > /opt/armlx/bin/$1; }}
program armlx-chain armlx_chain.cli.main
program armlx-validator verifier.daemon.cli
chmod 755 /opt/armlx/bin/armlx-*
exec env container=armlx /lib/systemd/systemd --system
"""


class Booted:
    """A running systemd, and commands inside it.

    Args:
        pid: Its process 1, seen from here.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.rows: list[tuple[str, str, str]] = []

    def run(self, command: str, *, account: str | None = None, text: str = "") -> tuple[int, str, str]:
        """A shell command: its code and both streams."""
        inside = ["nsenter", "-t", str(self._pid), "-m", "-p", "-u", "-i", "-n", "-C", "--"]
        if account is not None:
            inside += ["runuser", "-u", account, "--"]
        done = subprocess.run(
            [*inside, "sh", "-c", command],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        return done.returncode, done.stdout, done.stderr

    def must(self, command: str, *, account: str | None = None, text: str = "") -> str:
        code, out, err = self.run(command, account=account, text=text)
        if code != 0:
            raise SystemExit(f"{command} ended with {code}:\n{out}\n{err}")
        return out

    def until(self, command: str) -> bool:
        end = time.monotonic() + _WAIT_SECONDS
        while time.monotonic() < end:
            if self.run(command)[0] == 0:
                return True
            time.sleep(0.5)
        return False

    def note(self, what: str, good: bool, seen: str = "") -> None:
        self.rows.append((what, "ok" if good else "FAULT", seen))
        print(f"{'ok' if good else 'FAULT':<6} {what:<66} {seen}", flush=True)


@contextmanager
def booted() -> Iterator[Booted]:
    """A systemd that is ended with the block."""
    script = _BOOT.format(base=BASE, site=SITE, repository=REPOSITORY, python=SITE.parent.name)
    with tempfile.TemporaryDirectory() as room:
        argv = [
            "unshare",
            "-m",
            "-p",
            "-f",
            "-u",
            "-i",
            "-n",
            "-C",
            "--kill-child",
            "bash",
            "-c",
            script,
            "boot",
            room,
        ]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            end = time.monotonic() + _WAIT_SECONDS
            while not children.read_text().split():
                if time.monotonic() > end or process.poll() is not None:
                    raise SystemExit("The namespaces could not be made.")
                time.sleep(0.1)
            machine = Booted(int(children.read_text().split()[0]))
            if not machine.until("test $(systemctl is-system-running) = running"):
                raise SystemExit(
                    "systemd did not come up: " + machine.run("systemctl --failed --no-pager")[1]
                )
            yield machine
        finally:
            process.kill()
            process.wait()


def installed(machine: Booted) -> None:
    """Install; again; look at what stands where."""
    machine.must("/opt/armlx/bin/armlx-validator install --yes")
    again = json.loads(machine.must("/opt/armlx/bin/armlx-validator install --yes --json"))
    left = [step["title"] for step in again["steps"] if step["state"] == "to do"]
    machine.note("a second installation finds nothing to do", not left, ", ".join(left))
    for one, other in (("armlx-signer", "armlx-runner"), ("armlx-runner", "armlx-signer")):
        refused = machine.run(f"ls /var/lib/{other}", account=one)[0] != 0
        machine.note(f"{one} cannot read the folder of {other}", refused)
    hidden = machine.run("cat /etc/armlx-validator/rpc-urls", account="armlx-signer")[0] != 0
    machine.note("the endpoints' file is closed to the signer's account itself", hidden)


def confined(machine: Booted) -> None:
    """Every promise of the sandbox inside the very confinement of the runner's service."""
    machine.must("mkdir -p /etc/systemd/system/armlx-check.service.d")
    machine.must("cp /etc/systemd/system/armlx-runner.service /etc/systemd/system/armlx-check.service")
    command = "/opt/armlx/bin/armlx-validator doctor --keyless --offline --json --home /var/lib/armlx-runner"
    drop = (
        f"[Service]\nType=oneshot\nRestart=no\nRuntimeDirectory=\nTimeoutStartSec=600\nExecStart=\n"
        f"ExecStart={command}\nStandardOutput=truncate:/run/check.json\n"
    )
    machine.must(
        "cat > /etc/systemd/system/armlx-check.service.d/check.conf; systemctl daemon-reload", text=drop
    )
    code = machine.run("systemctl start armlx-check")[0]
    document = json.loads(machine.must("cat /run/check.json"))
    found = {one["name"]: one for group in document["groups"].values() for one in group}
    machine.note("the sandbox inside the runner's service", code == 0, found["sandbox"]["seen"])
    machine.note("MLX inside it", found["MLX"]["state"] == "ok", found["MLX"]["seen"])


LEFT_OUT = (
    "ProtectKernelTunables=yes",
    "ProtectKernelLogs=yes",
    "ProtectProc=invisible",
    "ProcSubset=pid",
    "ProtectHostname=yes",
    "RestrictNamespaces=yes",
    "ProtectControlGroups=yes",
    "SystemCallArchitectures=native",
    "MemoryDenyWriteExecute=yes",
)
"""What the runner's service goes without."""


def without_each(machine: Booted) -> None:
    """Each setting that the runner goes without, put back alone: what the sandbox says then."""
    folder = "/etc/systemd/system/armlx-check.service.d"
    for setting in LEFT_OUT:
        machine.must(f"cat > {folder}/one.conf; systemctl daemon-reload", text=f"[Service]\n{setting}\n")
        machine.run("rm -f /run/check.json; systemctl start armlx-check")
        out = machine.run("cat /run/check.json")[1]
        document = json.JSONDecoder().raw_decode(out)[0] if out else {}
        found = [one for group in document.get("groups", {}).values() for one in group]
        faults = [f"{one['name']}: {one['seen']}" for one in found if one["state"] == "fault"]
        seen = "; ".join(faults) or ("all holds" if found else "doctor itself does not run")
        in_force = machine.run(f"systemctl show -p {setting.partition('=')[0]} armlx-check")[1].strip()
        print(f"with {in_force[:60]:<60} {seen}"[:300], flush=True)
    machine.must(f"rm {folder}/one.conf; systemctl daemon-reload")


def reached(machine: Booted) -> None:
    """The runner serves the signer and nobody else."""
    machine.must("systemctl start armlx-runner")
    machine.note("the runner serves its socket", machine.until("test -S /run/armlx-runner/runner.sock"))
    doctor = "/opt/armlx/bin/armlx-validator doctor --offline --json --runner /run/armlx-runner/runner.sock"
    code, out, _ = machine.run(f"{doctor} --home /var/lib/armlx-signer", account="armlx-signer")
    seen = {one["name"]: one["seen"] for one in json.loads(out)["groups"]["Runner"]}
    machine.note("the signer reaches it", code == 0, seen.get("separation", ""))
    code, out, _ = machine.run(f"{doctor} --home /tmp/nobody", account="nobody")
    machine.note("another account does not", code == 3 and "Permission denied" in out)
    machine.must("systemctl stop armlx-runner")
    state = machine.run("systemctl show -p Result,ExecMainStatus --value armlx-runner")[1].split()
    machine.note("told to end, the runner ends well", state == ["success", "0"], " ".join(state))


def signing(machine: Booted) -> None:
    """The signer's service with key, passphrase and endpoint, on a local world."""
    machine.must(
        "systemd-run --unit=world -E HOME=/root /opt/armlx/bin/armlx-chain devnet up --home /var/world"
    )
    state = "/var/world/devnet/devnet.json"
    machine.note("a local world runs", machine.until(f"test -f {state}"))
    machine.must("chmod -R a+rX /var/world/devnet")
    url = json.loads(machine.must(f"cat {state}"))["rpc_url"]
    machine.must("cat > /etc/armlx-validator/rpc-urls", text=f"{url}\n")
    machine.must("umask 077; cat > /etc/armlx-validator/passphrase", text=PASSPHRASE)
    machine.must(
        "umask 077; cat > /var/lib/armlx-signer/p; chown armlx-signer /var/lib/armlx-signer/p",
        text=PASSPHRASE,
    )
    make = "/opt/armlx/bin/armlx-chain wallet import validator --home /var/lib/armlx-signer --key-file -"
    key = derive_accounts(4)[3].private_key_hex
    machine.must(f"{make} --passphrase-from file:/var/lib/armlx-signer/p", account="armlx-signer", text=key)
    machine.must("rm /var/lib/armlx-signer/p")
    for unit in ("armlx-runner", "armlx-validator"):
        start = f"ExecStart=\nExecStart={start_of(machine, unit)}"
        drop = f"[Service]\nEnvironment=ARMLX_DEVNET=/var/world/devnet\n{start}\n"
        machine.must(f"mkdir -p /etc/systemd/system/{unit}.service.d")
        machine.must(f"cat > /etc/systemd/system/{unit}.service.d/world.conf", text=drop)
    machine.must("systemctl daemon-reload; systemctl start armlx-runner armlx-validator")
    fetch = (
        "/opt/armlx/bin/python -c \"import urllib.request as u; u.urlopen('http://127.0.0.1:9464/healthz')\""
    )
    healthy = machine.until(fetch)
    log = machine.run("journalctl -u armlx-validator --no-pager -n 200 -o cat")[1]
    machine.note("the signer works in its service", healthy, "" if healthy else log[-2000:])
    number = machine.must("systemctl show -p MainPID --value armlx-validator").strip()
    shown = machine.run(f"cat /proc/{number}/environ /proc/{number}/cmdline; systemctl show armlx-validator")[
        1
    ]
    machine.note("no secret in unit, command line, environment or log", PASSPHRASE not in shown + log)
    machine.must("systemctl stop armlx-validator armlx-runner")
    ended = machine.run("systemctl show -p Result,ExecMainStatus --value armlx-validator")[1].split()
    machine.note("told to end, the signer ends well", ended == ["success", "0"], " ".join(ended))


def start_of(machine: Booted, unit: str) -> str:
    """A unit's command, for the local world."""
    text = machine.must(f"cat /etc/systemd/system/{unit}.service")
    (line,) = [row for row in text.splitlines() if row.startswith("ExecStart=")]
    return line.removeprefix("ExecStart=").replace("galileo", "devnet").replace(" --calibrate full", "")


def removed(machine: Booted) -> None:
    machine.must("/opt/armlx/bin/armlx-validator install --uninstall --yes")
    left = machine.must(
        "ls /etc/systemd/system /etc/sysusers.d /etc/tmpfiles.d /etc/polkit-1/rules.d 2>/dev/null || true"
    )
    files = [
        name for name in left.split() if "armlx" in name and not name.endswith(".d") and "check" not in name
    ]
    machine.note("taken away, no file of it is left", not files, " ".join(files))
    kept = machine.run(
        "test -f /var/lib/armlx-signer/keystores/validator.json -a -f /etc/armlx-validator/passphrase"
    )
    machine.note("key and passphrase stay", kept[0] == 0)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print the rows as one JSON object at the end")
    parser.add_argument(
        "--each", action="store_true", help="also try every setting that the runner's service goes without"
    )
    options = parser.parse_args()
    if os.geteuid() != 0 or sys.platform != "linux":
        raise SystemExit("This needs root on Linux.")
    with booted() as machine:
        parts = [installed, confined, *([without_each] if options.each else []), reached, signing, removed]
        for part in parts:
            part(machine)
    faults = [row for row in machine.rows if row[1] != "ok"]
    if options.json:
        print(json.dumps({"rows": machine.rows, "faults": len(faults)}))
    print(f"{len(machine.rows) - len(faults)} of {len(machine.rows)} hold")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
