"""What a cycle leaves for node_exporter's textfile collector: ``data/metrics/node0.prom``.

Promise: written whole or not at all, readable by others (0644), text format 0.0.4 without times, which that collector
refuses. It holds node0's own families only: the simulated service's would be an hour old, and ``node0 metrics serve``
has them by the minute. A file that cannot be written is told and changes nothing else.

>>> leave.__name__
'leave'
"""

from __future__ import annotations

from node0lib.errors import Node0Error
from node0lib.shell.files import write_atomic
from node0lib.shell.order import Order


def leave(order: Order, notice: str | None = None) -> str | None:
    """Write the file; return ``notice``, and with it why the file could not be written, if so."""
    from node0lib.shell.exporter import Exporter, render

    places = order.places
    try:
        own = Exporter(order.settings, places, order.clock, own_only=True)
        write_atomic(places.metrics / "node0.prom", render(own, "text"))
    except Node0Error as error:
        problem = f"the metrics were not written ({places.told(str(error)).splitlines()[0]})"
        return f"{notice}; {problem}" if notice else problem
    return notice
