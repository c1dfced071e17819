"""What a finished run log states by the protocol's own rules. Decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from armlx_chain.errors import MetricError
from armlx_chain.protocol.metric import MetricRule, extract_from_file, metric_rule
from armlx_chain.protocol.model import Protocol

_STEPS_NAME: Final = "num_steps"


@dataclass(frozen=True, slots=True)
class LogFacts:
    """Metric and steps as the log states them; ``None`` where it does not, or not plainly."""

    metric: str | None = None
    steps: int | None = None


class ProtocolLog:
    """Reads logs by one protocol document. An instance serves as the runner's ``read_log``.

    Raises:
        MetricError: when made, if the document's primary metric is not read by a pattern.
    """

    def __init__(self, protocol: Protocol) -> None:
        measurement = protocol.measurement
        self._metric = metric_rule(measurement.primary_metric)
        self._steps: MetricRule | None = None
        for secondary in measurement.secondary_metrics:
            if secondary.name == _STEPS_NAME and secondary.extract is not None:
                self._steps = metric_rule(secondary)

    def __call__(self, path: Path) -> LogFacts:
        steps = _stated(path, self._steps)
        whole = steps is not None and steps.isdigit()
        return LogFacts(_stated(path, self._metric), int(steps) if steps is not None and whole else None)


def _stated(path: Path, rule: MetricRule | None) -> str | None:
    if rule is None:
        return None
    try:
        with path.open("rb") as stream:
            return extract_from_file(stream, rule).text
    except MetricError:
        return None
