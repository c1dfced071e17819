"""What a session is expected to take before the first of its bench: whether it may begin depends on it."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.executors.places import Place, Shelf, noise_here, published
from verifier.executors.remote import RemoteExecutor, connect_to
from verifier.executors.server import Server, listen

pytestmark = pytest.mark.integration

LONG = 60.0


def test_before_a_runners_first_session_its_calibration_says_how_long_one_takes(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    project, place = published(shelf), Place(shelf, tmp_path / "there")
    with ExitStack() as stack:
        server = Server(listen(tmp_path / "s"), place.site())
        serving = threading.Thread(target=server.run)
        serving.start()
        stack.callback(serving.join, LONG)
        stack.callback(server.close)
        executor = RemoteExecutor(connect_to(tmp_path / "s"), load=lambda project: (place.load(project), ()))
        bench = executor.prepare(project, None)
        noise = bench.noise()
        assert noise.reference_seconds == noise_here(place.prepare(project, (), None)).reference_seconds  # type: ignore[arg-type]
        assert bench.session_seconds(8) == 2 * 8 * 2 * max(noise.reference_seconds)
