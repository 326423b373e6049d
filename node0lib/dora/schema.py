"""What an event looks like in a file of JSON lines, CSV or Parquet: its fields, in words that a screen can hold.

CSV and Parquet have a column for every field that is needed; which of the others there are is up to the file.

>>> lacking(["foo", "bar"]).split(";")[0]
'lacks the column(s) type, id, service, and holds foo, bar, which are unknown'
>>> lacking(["service", "id", "type"]) is None
True
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from node0lib.dora.events import Deployment, Incident

SCHEMA = """\
Fields; those with * are required. A time is ISO 8601 with a zone, such as
2026-01-05T12:00:00Z.
  type*         text  deployment or incident
  id*           text  unique among the deployments, or the incidents
  service*      text
of a deployment:
  environment*  text  such as production
  started_at*   time
  finished_at*  time
  outcome       text  succeeded (default), rolled_back (arrived and was taken
                      back) or failed (never arrived)
  kind          text  normal (default), hotfix, retry or rollback
  planned       bool  true or false; by default normal and retry are planned
  sha           text  the commit that it deployed
  changes       list  of objects: sha* (text); committed_at, authored_at,
                      opened_at, merged_at (times)
  caused_by     text  the id of the incident that made it necessary
of an incident:
  opened_at*    time
  resolved_at   time  left out while it is open
  caused_by     text  the id of the deployment, or incident, that did it
  cause         text  in words"""
_NEEDED = ("type", "id", "service")
"""Of every event; what deployments and incidents need besides is asked of each row."""


def columns() -> tuple[str, ...]:
    """Return the names of all fields that an event may have."""
    names = (field.name for kind in (Deployment, Incident) for field in fields(kind))
    return tuple(dict.fromkeys(("type", *names)))


def lacking(header: Sequence[str]) -> str | None:
    """Return what is wrong with the columns of a table, in words; None if those that every event needs are there."""
    missing = [name for name in _NEEDED if name not in header]
    if not missing:
        return None
    known = columns()
    strangers = [name for name in header if name not in known]
    text = f"lacks the column(s) {', '.join(missing)}"
    text += f", and holds {', '.join(strangers)}, which are unknown" if strangers else ""
    return (
        f"{text}; there may be {', '.join(known)}; required are {', '.join(_NEEDED)}, of deployments "
        f"{', '.join(_own(Deployment))}, of incidents {', '.join(_own(Incident))}"
    )


def _own(kind: type[Deployment | Incident]) -> list[str]:
    """What this kind of event needs beyond what every event does."""
    return [one.name for one in fields(kind) if one.default is one.default_factory and one.name not in _NEEDED]
