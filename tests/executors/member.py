"""A machine of ``places`` as a process of its own: behind a socket, or in a cluster."""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.executors.places import Place, Shelf
from verifier.executors.local import machine_id
from verifier.executors.workercli import join_cluster, serve_socket
from verifier.model import Role


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shelf", type=Path, required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--socket", type=Path)
    parser.add_argument("--scheduler")
    parser.add_argument("--certificates", type=Path)
    parser.add_argument("--real", action="store_true")
    given = parser.parse_args()

    def note(role: Role, label: str) -> None:
        with (given.home / "started").open("a") as stream:
            stream.write(f"{label} {role}\n")

    machine = machine_id(given.home)
    kind = _real() if given.real else Place
    place = kind(Shelf(given.shelf), given.home, machine=machine, seconds=given.seconds, at_start=note)
    site = place.site()
    if given.socket is not None:
        serve_socket(given.socket, site, at_end=site.kill)
    else:
        join_cluster(given.scheduler, given.certificates, site, given.home / "scratch")


def _real() -> type[Place]:
    from tests.executors.realplaces import RealPlace

    return RealPlace


if __name__ == "__main__":
    main()
