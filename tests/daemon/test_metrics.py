"""The daemon's figures: names with units, all series from the start, and alerts that name existing ones."""

from __future__ import annotations

import json
import re
import threading
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from tests.daemon.observed import result, run
from verifier.daemon.metrics import MODES, Metrics
from verifier.daemon.monitorcli import monitoring
from verifier.daemon.observer import Alarm, CycleOutcome, Observer, Several, Silent
from verifier.daemon.operations import ALERTS, DASHBOARD
from verifier.daemon.results import Step
from verifier.daemon.sorting import TABLE, Kind, Sorted, Weight
from verifier.model import Ending, Outcome, Reason, Role

pytestmark = pytest.mark.unit

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]
UNITS = ("_seconds", "_bytes", "_coins", "_total", "_info", "_proposals", "_rejections", "_machines")
WITHOUT_UNIT = {"armlx_mode", "armlx_cycle_running"}
"""Yes or no."""


def series(metrics: Metrics) -> Series:
    families = text_string_to_metric_families(metrics.text().decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return series(metrics)[(name, frozenset(labels.items()))]


def test_every_combination_of_labels_is_there_at_zero_from_the_start() -> None:
    found = series(Metrics(now=lambda: 0.0))
    expected = {
        "armlx_cycles_total": product([("outcome", one.value) for one in CycleOutcome]),
        "armlx_errors_total": product(
            [("weight", one.value) for one in Weight], [("kind", one.value) for one in Kind]
        ),
        "armlx_alarms_total": product([("alarm", one.value) for one in Alarm]),
        "armlx_proposals_considered_total": product([("step", one.value) for one in Step]),
        "armlx_queue_proposals": product([("step", one.value) for one in Step]),
        "armlx_verdicts_total": product([("outcome", one.value) for one in Outcome]),
        "armlx_verdict_reasons_total": product([("reason", one.value) for one in Reason]),
        "armlx_runs_total": product(
            [("role", one.value) for one in Role], [("ending", one.value) for one in Ending]
        ),
        "armlx_run_seconds_count": product([("role", one.value) for one in Role]),
        "armlx_run_cpu_seconds_total": product([("role", one.value) for one in Role]),
        "armlx_run_peak_memory_bytes": product([("role", one.value) for one in Role]),
        "armlx_runs_disturbed_total": product([("role", one.value) for one in Role]),
        "armlx_mode": product([("mode", one) for one in MODES]),
    }
    for name, combinations in expected.items():
        wanted = {frozenset(labels) for labels in combinations}
        assert {labels for known, labels in found if known == name} == wanted, name
        assert {number for (known, _), number in found.items() if known == name} == {0.0}, name


def test_names_begin_alike_and_end_in_a_unit() -> None:
    names = {family.name for family in Metrics().registry.collect()}
    assert all(name.startswith("armlx_") for name in names)
    counters = {f.name for f in Metrics().registry.collect() if f.type == "counter"}
    assert {n for n in names - counters if not n.endswith(UNITS)} == WITHOUT_UNIT
    assert all(family.documentation.endswith(".") for family in Metrics().registry.collect())


def test_nothing_of_the_process_or_of_another_library_is_shown() -> None:
    before = {family.name for family in REGISTRY.collect()}
    first, second = Metrics(), Metrics()
    first.cycle_ended("a", CycleOutcome.DONE, 1.0, [])
    assert value(second, "armlx_cycles_total", outcome="done") == 0
    assert {family.name for family in REGISTRY.collect()} == before
    assert not any(
        name.startswith(("python_", "process_")) or "_created" in name for name, _ in series(first)
    )


def test_a_day_is_counted_as_it_was() -> None:
    clock = [1000.0]
    metrics = Metrics(now=lambda: clock[0])
    metrics.cycle_began("c-1")
    assert value(metrics, "armlx_cycle_running") == 1
    metrics.proposal_began(7, 0)
    metrics.run_ended(Role.CONTROL, run(Role.CONTROL), 4.0)
    metrics.run_ended(Role.CANDIDATE, run(Role.CANDIDATE, Ending.CRASH, disturbed=True), 9.0)
    metrics.proposal_ended(result(7, Step.LEFT), 13.0)
    metrics.fault(Sorted(Weight.CARRY_ON, Kind.CHAIN, "No endpoint."))
    metrics.alarm(Alarm.LOW_FUNDS, "It is low.")
    metrics.alarm("an alarm of tomorrow", "Something.")
    clock[0] = 1500.0
    metrics.cycle_ended("c-1", CycleOutcome.DONE, 500.0, [result(7, Step.LEFT), result(8, Step.WAITING)])
    clock[0] = 1600.0
    metrics.cycle_ended("c-2", CycleOutcome.BROKEN_OFF, 1.0, [])
    assert value(metrics, "armlx_cycle_running") == 0
    assert value(metrics, "armlx_last_cycle_timestamp_seconds") == 1600
    assert value(metrics, "armlx_last_good_cycle_timestamp_seconds") == 1500
    assert value(metrics, "armlx_queue_proposals", step="waiting") == 1, "a broken cycle saw only a part"
    assert value(metrics, "armlx_runs_total", role="candidate", ending="crash") == 1
    assert value(metrics, "armlx_runs_disturbed_total", role="candidate") == 1
    assert value(metrics, "armlx_run_seconds_sum", role="control") == 4
    assert value(metrics, "armlx_errors_total", weight="carry-on", kind="chain") == 1
    assert value(metrics, "armlx_alarms_total", alarm="low-funds") == 1
    assert value(metrics, "armlx_alarms_total", alarm="other") == 1
    assert value(metrics, "armlx_verdicts_total", outcome="unimproved") == 1


def test_a_verdict_that_is_met_again_is_counted_once_and_a_new_one_again() -> None:
    metrics = Metrics()
    for _ in range(3):
        metrics.proposal_ended(result(7), 1.0)
    metrics.proposal_ended(result(7, outcome="refuted", reason="copied"), 1.0)
    metrics.proposal_ended(result(8, Step.KNOWN), 0.0)
    metrics.proposal_ended(result(9, Step.WAITING, outcome=None, reason=None), 0.0)
    assert value(metrics, "armlx_verdicts_total", outcome="unimproved") == 1
    assert value(metrics, "armlx_verdicts_total", outcome="refuted") == 1
    assert value(metrics, "armlx_verdict_reasons_total", reason="copied") == 1
    assert value(metrics, "armlx_proposals_considered_total", step="left") == 4


def test_strangers_do_not_decide_how_many_series_there_are() -> None:
    metrics = Metrics()
    before = series(metrics).keys()
    for number in range(300):
        odd = result(number, outcome=f"outcome {number}", reason=f"reason {number}", sentence="x" * number)
        metrics.proposal_began(number, number)
        metrics.proposal_ended(odd, -1.0)
        metrics.alarm(f"alarm {number}", "…")
        metrics.cycle_ended(f"c-{number}", f"outcome {number}", 1.0, [odd])
    for kind, (weight, where, sentence) in TABLE.items():
        metrics.fault(Sorted(weight, where, sentence, kind.__name__))
    metrics.mode("nothing known")
    assert series(metrics).keys() == before


def test_what_stands_is_what_was_said_last() -> None:
    metrics = Metrics()
    metrics.mode("dry")
    metrics.mode("live")
    metrics.balance(1_500_000_000_000_000_000)
    metrics.pending_rejections(2)
    metrics.machines(4)
    assert (value(metrics, "armlx_mode", mode="dry"), value(metrics, "armlx_mode", mode="live")) == (0, 1)
    assert value(metrics, "armlx_account_balance_coins") == 1.5
    assert value(metrics, "armlx_pending_rejections") == 2
    assert value(metrics, "armlx_machines") == 4


def test_lanes_that_count_at_once_lose_nothing() -> None:
    metrics, turns = Metrics(), 200

    def lane(first: int) -> None:
        for number in range(first, first + turns):
            metrics.run_ended(Role.CONTROL, run(Role.CONTROL), 1.0)
            metrics.proposal_ended(result(number), 1.0)

    threads = [threading.Thread(target=lane, args=(n * turns,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert value(metrics, "armlx_runs_total", role="control", ending="graph") == 4 * turns
    assert value(metrics, "armlx_verdicts_total", outcome="unimproved") == 4 * turns


def test_several_observers_are_told_the_same() -> None:
    first, second = Metrics(), Metrics()
    everyone: Observer = Several(first, Silent(), second)
    everyone.cycle_began("c")
    everyone.proposal_began(1, 1)
    everyone.run_ended(Role.BASELINE, run(Role.BASELINE), 1.0)
    everyone.proposal_ended(result(1), 1.0)
    everyone.fault(Sorted(Weight.STOP, Kind.KEY, "…"))
    everyone.alarm(Alarm.OTHER, "…")
    everyone.cycle_ended("c", CycleOutcome.STOPPED, 1.0, [])
    counted = [{k: v for k, v in series(one).items() if "timestamp" not in k[0]} for one in (first, second)]
    assert counted[0] == counted[1] != {k: v for k, v in series(Metrics()).items() if "timestamp" not in k[0]}


# --- what is shipped beside them ----------------------------------------------------------------------

_NAME = re.compile(r"\barmlx_[a-z_]+")
_SELECTOR = re.compile(r"(armlx_[a-z_]+)\{([^}]*)\}")
_MATCH = re.compile(r'(\w+)(=~|!=|=)"([^"]*)"')


def expressions() -> list[tuple[str, str]]:
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    panels = json.loads(DASHBOARD.read_text())["panels"]
    targets = [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]
    return [(rule["alert"], rule["expr"]) for rule in rules] + targets


@pytest.mark.parametrize(("title", "expression"), expressions(), ids=[title for title, _ in expressions()])
def test_an_alert_or_panel_names_existing_series_alone(title: str, expression: str) -> None:
    found = series(Metrics())
    names = {name for name, _ in found}
    assert set(_NAME.findall(expression)) <= names, title
    for name, matchers in _SELECTOR.findall(expression):
        for label, operator, wanted in _MATCH.findall(matchers):
            values = {dict(labels).get(label) for known, labels in found if known == name}
            asked = wanted.split("|") if operator == "=~" else [wanted]
            assert set(asked) <= values, (title, label)
    assert expression.count("(") == expression.count(")")
    assert all(
        found_label in {"le", *_labels(found)} for found_label in re.findall(r"by \((\w+)", expression)
    )


def _labels(found: Series) -> set[str]:
    return {name for _, labels in found for name, _ in labels}


def test_every_alert_says_what_happened_and_what_to_do() -> None:
    rules: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in ("page", "warn", "info")
        assert rule["annotations"]["summary"].endswith(".")
        assert len(rule["annotations"]["description"].split()) >= 4


def test_everything_that_a_person_should_know_at_once_has_an_alert() -> None:
    text = ALERTS.read_text()
    unheard = {alarm for alarm in Alarm if f'alarm="{alarm.value}"' not in text}
    assert unheard == {Alarm.REJECTION_WAITS, Alarm.OTHER}, "the first is told by armlx_pending_rejections"


def test_a_command_writes_both_files_where_they_are_wanted(tmp_path: Path) -> None:
    for _ in range(2):  # again, over what is there
        ran = CliRunner().invoke(monitoring, [str(tmp_path / "new"), "--json"])
        assert ran.exit_code == 0, ran.output
    assert [Path(name).read_bytes() for name in json.loads(ran.stdout)["files"]] == [
        ALERTS.read_bytes(),
        DASHBOARD.read_bytes(),
    ]


def test_the_dashboard_shows_every_metric() -> None:
    shown = " ".join(expression for _, expression in expressions())
    for family in Metrics().registry.collect():
        assert family.name in shown, family.name
