"""What an operator gives to Prometheus and Grafana, beside the metrics that it speaks of."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["ALERTS", "DASHBOARD"]

ALERTS: Final = Path(__file__).with_name("alerts.yml")
"""Alerting rules for Prometheus."""
DASHBOARD: Final = Path(__file__).with_name("grafana.json")
"""A dashboard for Grafana."""
