"""What can be read, written, moved and left behind."""

import os
import shutil
import stat
from pathlib import Path

from verifier.sandbox.inside.tools import CONFIG, RESULTS, attempt, open_for_writing, write_file

_DEVICE_NUMBER = 0x0105  # /dev/zero: harmless where it can be made


def rename(path: str) -> str:
    Path(path).rename(path + ".moved")
    return "renamed"


def unlink(path: str) -> str:
    Path(path).unlink()
    return "removed"


def chmod(path: str) -> str:
    Path(path).chmod(0o777)
    return "changed"


def link_then_write(link: str, target: str) -> str:
    Path(link).symlink_to(target)
    return write_file(link)


def hard_link(path: str, link: str) -> str:
    os.link(path, link)
    return "linked"


def reopen(path: str) -> str:
    """An open descriptor opened again through /proc, this time for writing."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return open_for_writing(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def replace_folder(folder: str) -> str:
    """Put another folder in the place of a mount."""
    other = Path(CONFIG["tmp"], "other")
    other.mkdir(exist_ok=True)
    other.rename(folder)
    return "replaced"


def set_times(path: str) -> str:
    os.utime(path, (0, 0))
    return "set"


def truncate(path: str) -> str:
    os.truncate(path, 0)
    return "emptied"


def make_device() -> str:
    path = Path(CONFIG["tmp"], "zero")
    os.mknod(path, stat.S_IFCHR | 0o666, _DEVICE_NUMBER)
    return str(len(path.read_bytes()[:1]))


def give_capability() -> str:
    """A program file with capabilities of its own (struct vfs_cap_data, version 2, all bits)."""
    path = Path(CONFIG["tmp"], "tool")
    shutil.copy("/bin/true", path)
    value = (0x0200_0001).to_bytes(4, "little") + b"\xff" * 16
    os.setxattr(path, "security.capability", value)
    return "set"


def not_private() -> list[str]:
    """Mounts where a set-id bit would count."""
    rows = [line.split(" ") for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()]
    return [row[4] for row in rows if "nosuid" not in row[5].split(",")]


def host_folders() -> list[str]:
    """Folders of the root that only a host has, but for those on the way to the interpreter."""
    there = {path.name for path in Path("/").iterdir()} - set(CONFIG["ways"])
    return sorted(there & {"root", "home", "var", "run", "boot", "mnt", "srv", "opt", "Users"})


def observe() -> None:
    _observe_host()
    _observe_mount(CONFIG["mounted"])
    _observe_own()


def _observe_host() -> None:
    attempt("secret", lambda: Path(CONFIG["secret"]).read_text())
    attempt("closed secret", lambda: Path(CONFIG["closed_secret"]).read_text())
    attempt("source", lambda: Path(CONFIG["source"]).read_text()[:20])
    attempt("overwrite source", lambda: open_for_writing(CONFIG["source"]))
    attempt("host temporary folder", lambda: str(list(Path(CONFIG["folder"]).iterdir())))
    attempt("secret through the reaper", lambda: Path("/proc/1/root" + CONFIG["secret"]).read_text())
    attempt("secret by going up", lambda: Path(CONFIG["tmp"], *[".."] * 20, CONFIG["secret"][1:]).read_text())
    attempt("passwords", lambda: Path("/etc/shadow").read_text()[:5])
    attempt("machine id", lambda: Path("/etc/machine-id").read_text()[:5])
    attempt("container socket", lambda: str(Path("/run/docker.sock").stat().st_mode))
    attempt("host folders", host_folders)
    attempt("mounts with set-id", not_private)
    RESULTS["devices"] = sorted(path.name for path in Path("/dev").iterdir())


def _observe_mount(mounted: str) -> None:
    folder = str(Path(mounted).parent)
    attempt("read mount", lambda: Path(mounted).read_text())
    attempt("write mount", lambda: write_file(mounted))
    attempt("append to mount", lambda: os.close(os.open(mounted, os.O_WRONLY | os.O_APPEND)))
    attempt("empty in mount", lambda: truncate(mounted))
    attempt("new file in mount", lambda: write_file(Path(mounted).with_name("new")))
    attempt("rename in mount", lambda: rename(mounted))
    attempt("remove in mount", lambda: unlink(mounted))
    attempt("change mode in mount", lambda: chmod(mounted))
    attempt("change times in mount", lambda: set_times(mounted))
    attempt("hard link out of mount", lambda: hard_link(mounted, CONFIG["tmp"] + "/hard"))
    attempt("reopen for writing", lambda: reopen(mounted))
    attempt("move the mount", lambda: rename(folder))
    attempt("replace the mount", lambda: replace_folder(folder))
    attempt("remove the mount", lambda: Path(folder).rmdir())
    attempt("write through a link", lambda: link_then_write(CONFIG["tmp"] + "/link", mounted))
    attempt("link to secret", lambda: link_then_write(CONFIG["tmp"] + "/link2", CONFIG["secret"]))


def _observe_own() -> None:
    attempt("write system", lambda: write_file("/usr/lib/armlx-new"))
    attempt("overwrite program", lambda: open_for_writing("/bin/sh"))
    attempt("write etc", lambda: write_file("/etc/armlx-new"))
    attempt("write root folder", lambda: write_file("/armlx-new"))
    attempt("write dev", lambda: write_file("/dev/armlx-new"))
    attempt("make a device", make_device)
    attempt("give a capability", give_capability)
    attempt("write tmp", lambda: write_file(CONFIG["tmp"] + "/a"))
    attempt("write home", lambda: write_file(os.environ["HOME"] + "/a"))
    attempt("write scratch", lambda: write_file(CONFIG["scratch"] + "/a"))
    attempt("left by another run", lambda: Path(CONFIG["tmp"], "trace").read_text())
