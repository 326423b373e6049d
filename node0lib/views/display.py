"""What a notebook cell shows: a piece of HTML and the same in plain text, as one frozen value.

Every table and figure is such a value: it has no state, it compares equal to another with the same content, and a
reader without HTML (a terminal, a screen reader, a diff) gets the text, which states the same numbers.

>>> Display("<p>3 of 10</p>", "3 of 10")._repr_mimebundle_()["text/plain"]
'3 of 10'
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any


@dataclass(frozen=True)
class Display:
    """``html`` is a self-contained fragment without scripts; ``text`` says the same."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Return both forms; IPython picks from the bundle, so ``include`` and ``exclude`` are not needed."""
        return {"text/html": self.html, "text/plain": self.text}

    def __repr__(self) -> str:
        return self.text


def note(text: str, caption: str = "") -> Display:
    """Return a figure-like note that says why there is nothing to show."""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return Display(f'<figure class="n0-note"><p>{escape(text)}</p>{below}</figure>', text)
