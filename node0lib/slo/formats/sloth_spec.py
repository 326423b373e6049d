"""What Sloth's files hold, as frozen values: SLOs with queries in PromQL, and the two alerts of each.

Promises: a value says what Sloth 0.16 has in mind after reading: labels are merged, disabled alerts are None. Queries
are as they were written; ``windowed`` puts a range into the place of their variable ``{{.window}}``.

Source: slok/sloth 0.16, pkg/common/model and pkg/common/validation.

>>> windowed("sum(rate(bad[{{ .window }}]))", "5m")
'sum(rate(bad[5m]))'
>>> query_mistake("sum(rate(bad[5m]))")
'has no window; write the range as [{{.window}}], which is replaced by 5m, 1h and so on'
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from node0lib.slo.formats.account import Note
from node0lib.slo.formats.fields import Place
from node0lib.slo.promql import flaw

SlothForm = Literal["prometheus/v1", "sloth.slok.dev/v1", "openslo/v1alpha"]
_WINDOW = re.compile(r"\{\{ *\.window *\}\}")


@dataclass(frozen=True)
class SlothEvents:
    """Bad and total events, in PromQL with ``{{.window}}``."""

    error: str
    total: str


@dataclass(frozen=True)
class SlothRaw:
    """A ratio of errors, 0..1, in PromQL with ``{{.window}}``."""

    ratio: str


@dataclass(frozen=True)
class SlothPlugin:
    """A query that a plugin of Sloth writes; nobody else can know it."""

    id: str


@dataclass(frozen=True)
class SlothAlert:
    """One of the two alerts; labels and annotations as they are merged."""

    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


@dataclass(frozen=True)
class SlothSlo:
    """One SLO. ``objective`` is a percentage in (0, 100); ``page`` and ``ticket`` are None where they are disabled.

    ``labels`` are those of the service and the SLO, merged; ``plugins`` the ids of the plugins that change its rules.
    """

    service: str
    name: str
    objective: float
    sli: SlothEvents | SlothRaw | SlothPlugin
    place: Place
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    page: SlothAlert | None = None
    ticket: SlothAlert | None = None
    plugins: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The id under which Sloth's rules name it."""
        return f"{self.service}-{self.name}"


@dataclass(frozen=True)
class SlothMeta:
    """What a Kubernetes object is called; ``name`` is empty where it is none."""

    name: str = ""
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SlothSpec:
    """One document: its SLOs in the file's order, and what was ignored in it."""

    form: SlothForm
    slos: tuple[SlothSlo, ...]
    meta: SlothMeta = field(default_factory=SlothMeta)
    notes: tuple[Note, ...] = ()


def windowed(query: str, window: str) -> str:
    """Return the query with ``window`` ("5m", "$window") in the place of the variable."""
    return _WINDOW.sub(lambda _: window, query)


def query_mistake(query: str) -> str:
    """Return what is wrong with a query of Sloth, empty if nothing is."""
    if not _WINDOW.search(query):
        return "has no window; write the range as [{{.window}}], which is replaced by 5m, 1h and so on"
    rendered = windowed(query, "5m")
    if "{{" in rendered or "}}" in rendered:
        return "holds a template other than {{.window}}; that is the only variable there is"
    wrong = flaw(rendered)
    return f"is not PromQL: {wrong}; correct the query" if wrong else ""
