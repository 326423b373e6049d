"""A canary to try things on: real processes and real HTTP on this machine, in front of a simulated dependency.

``mechanics`` is what happens inside an instance, ``service`` its HTTP server, ``load`` the clients, each a process of
its own; ``layout`` says what listens where and writes the configurations of HAProxy and Prometheus; ``processes``
starts and ends processes and no others; ``stack`` brings all of it up and down; ``faults`` are the degradations;
``loopback`` knows this machine's ports and ``telemetry`` asks HAProxy and Prometheus how things stand.

>>> __name__
'node0lib.shell.demo'
"""
