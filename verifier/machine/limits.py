"""What of the machine's state voids a run, by name, with where it comes from.

The verdict's own numbers are in ``verifier.verdict.constants``. These decide whether a pair counts, never
what it means, and they see nothing of a candidate. "The specification" is the section on execution of the
specification of trusted evaluation; "measured" is ``scripts/bench/load``.
"""

from __future__ import annotations

from typing import Final

NOMINAL: Final = 0
"""Heat level above which a run is discarded (specification: "discard runs that left nominal")."""

THROTTLED_SHARE: Final = 0.02
"""Share of a run's wall time during which a chip was slowed by heat. Our choice: slower by half for two
percent of the time is one percent of the steps, a third of what the band of the steps allows."""

OTHERS_SHARE: Final = 0.25
"""Wall clock: share of the processor that others may use more than at the session's start. Our choice: light
use of a desktop stays below it, a compiler or a second training run does not. On the CPU clock nobody is
billed for others, and load voids nothing by itself. It does make runs worse and noisier, because processors
share caches and cores (measured beside 1.3 busy cores of 2: 45 steps of about 150, a spread of 0.048 bpb);
but it meets control and candidate alike, and what the control scores and how many steps it makes, held
against the calibrated band, tells more than any figure of load. Otherwise no machine of two cores could
judge at all."""

LOAD_LEAST_SECONDS: Final = 1.0
"""Load over less wall time than this says nothing; so long a run on the wall clock waits to see it."""

LEAVING_SECONDS: Final = 3.0
"""A program that is on the GPU at the end of a run and gone after this was ours, or as short."""

SWAP_SHARE: Final = 0.02
"""Wall clock: share of the memory read back from swap during one run. Our choice: pages that sleeping
programs lost are far below it, a machine whose run does not fit is far above it."""

MEMORY_SHARE: Final = 0.5
"""A run starts when this share of the memory that was free at the session's start is free again
(specification: "free memory … back at the session's start values"; half, because programs come and go)."""

TEMPERATURE_RISE: Final = 15.0
"""Degrees above the session's start at which a run may start (specification: "temperature … back at the
session's start values"). Our choice: chips that were used stay warm for long; slowing starts far above."""

COOLED: Final = 1.0
"""A chip that cools by less than this in ``COOLING_SECONDS`` is as cool as it gets; that is then enough."""

COOLING_SECONDS: Final = 60.0

PATIENCE_SECONDS: Final = 900.0
"""How long a run waits for the machine to come to rest, then the session ends as the verifier's own fault."""

LOOK_SECONDS: Final = 5.0
"""Between two looks while waiting."""

SAMPLE_SECONDS: Final = 15.0
"""Between two looks at the heat during a run, where a system tells only the present state."""
