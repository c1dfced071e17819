"""Which interpreter runs a project's programs here: the protocol's own environment, or a ready one.

- A ready interpreter, named with ``--python``, wins and is said in the environment record where the protocol
  would have made one.
- Otherwise the protocol's set-up decides: where it installs packages, its environment is made or found; where
  it installs none, this process's interpreter serves.

::

    provided = provide(protocol, snapshot, choice, home=home, sandbox=sandbox, say=say)
    provided.interpreter, provided.facts
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from armlx_chain.errors import SetupRefused
from armlx_chain.protocol.model import Protocol
from verifier.capacity import interpreter_here
from verifier.environments.building import Maker
from verifier.environments.choice import PythonChoice
from verifier.environments.commands import Run, read_setup
from verifier.environments.steps import Operator, operator_environ
from verifier.environments.store import EnvironmentStore
from verifier.harness.inside import Interpreter
from verifier.sandbox.interface import Sandbox

__all__ = ["ENVIRONMENTS", "Provided", "PythonChoice", "operator_of", "provide"]

ENVIRONMENTS: Final = "environments"
TOOLS: Final = "tools"


@dataclass(frozen=True, slots=True)
class Provided:
    """An interpreter for a project's programs.

    Attributes:
        facts: What the environment record and its digest say of it; empty for this process's own.
        notices: What a person should know.
    """

    interpreter: Interpreter
    facts: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


def operator_of(choice: PythonChoice) -> Operator:
    """What the operator allows, with this process's own variables."""
    return Operator(
        network=choice.allow_network,
        any_source=choice.allow_any_source,
        builds=choice.allow_builds,
        environ=operator_environ(),
    )


def provide(
    protocol: Protocol,
    snapshot: Mapping[str, bytes],
    choice: PythonChoice,
    *,
    home: Path,
    sandbox: Sandbox,
    say: Callable[[str], None],
) -> Provided:
    """The interpreter for one project.

    Args:
        home: Holds our tools and the environments that were made.
        say: Is told what happens, a line each.

    Raises:
        SetupRefused: the protocol's set-up is not carried out here.
        VerifierFault: it could be, but not now.
    """
    if choice.python is not None:
        return _ready(protocol, choice.ready())
    maker = Maker(
        EnvironmentStore(home / ENVIRONMENTS), sandbox, operator_of(choice), tools=home / TOOLS, say=say
    )
    made = maker.environment(protocol, snapshot)
    if made is None:
        return Provided(interpreter_here(choice.ready()))
    for notice in made.record.notices:
        say(notice)
    say(f"environment {made.record.digest[:12]}: {len(made.record.packages)} packages, as locked")
    facts = {"environment": f"made {made.record.digest}"}
    return Provided(interpreter_here(made.python), facts, made.record.notices)


def _ready(protocol: Protocol, python: Path) -> Provided:
    try:
        installs = any(not isinstance(step, Run) for step in read_setup(protocol))
    except SetupRefused:
        installs = True
    if not installs:
        return Provided(interpreter_here(python))
    note = "The interpreter was made ready by the operator, not by the protocol's set-up."
    return Provided(interpreter_here(python), {"environment": "ready"}, (note,))
