"""``armlx-validator monitoring``: the files that Prometheus and Grafana need."""

from __future__ import annotations

from pathlib import Path

import click

from armlx_chain.cli.output import emit


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--json", "as_json", is_flag=True, envvar="ARMLX_JSON", help="One JSON object on stdout.")
def monitoring(folder: Path, as_json: bool) -> int:
    """Write alerting rules (alerts.yml) and a dashboard (grafana.json) into FOLDER.

    Prometheus scrapes http://127.0.0.1:9464/metrics of a running daemon, or whichever --health-port it has.

    \b
    Example:
      armlx-validator monitoring /etc/prometheus/armlx
    """
    from armlx_chain.storage.files import write_file
    from verifier.daemon.operations import ALERTS, DASHBOARD

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for source in (ALERTS, DASHBOARD):
        write_file(folder / source.name, source.read_bytes())
        written.append(str(folder / source.name))
    emit({"files": written}, [f"Wrote {path}" for path in written], as_json=as_json)
    return 0
