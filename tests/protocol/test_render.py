"""Rendering: readable, and deaf to markup in a stranger's text."""

from __future__ import annotations

import pytest
from protocol_documents import document

from armlx_chain.errors import ProtocolInvalid
from armlx_chain.protocol.render import render_markdown

pytestmark = pytest.mark.unit


def test_keys_are_sorted_words_and_values_are_for_people() -> None:
    text = render_markdown(document())
    heads = [line for line in text.splitlines() if line.startswith("## ")]
    assert heads == ["## Agent Rules", "## Environment", "## Execution", "## Immutable Harness",
                     "## Measurement", "## Meta", "## Mutable Surface", "## Protocol Version",
                     "## Provenance", "## Safety", "## Schema Kind", "## Raw JSON"]  # fmt: skip
    assert "- **Simplicity Criterion**: Yes" in text
    assert "- **Hard Timeout Seconds**: 900" in text
    assert '"hardTimeoutSeconds": 900' in text.partition("## Raw JSON")[2]


def test_text_of_several_lines_is_a_code_block_that_it_cannot_leave() -> None:
    text = render_markdown(document(meta__purposeStatement="a\n```\n# Owned\n````\nb"))
    block = text[text.index("Purpose Statement") : text.index("**Repo**")]
    assert block.count("`````") == 2


def test_markup_and_escapes_in_a_strangers_text_stay_text() -> None:
    text = render_markdown(
        document(
            meta__purposeStatement="<script>x</script> [pay](http://evil) ![i](j)",
            measurement__primaryMetric__extract__exampleStdout="\x1b]0;t\x07\nval_bpb: 2.5\n\u202e",
        )
    )
    readable = text.partition("## Raw JSON")[0]
    assert "<script>" not in readable
    assert "[pay](" not in readable
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\\u001b]0" in text


def test_only_valid_documents_are_rendered() -> None:
    with pytest.raises(ProtocolInvalid):
        render_markdown(document(surprise=1))
