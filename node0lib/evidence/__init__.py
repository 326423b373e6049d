"""Why should anybody believe it? Attestations, provenance and their verification, all of it without I/O.

A cycle leaves three files, named by the cycle and written once: what it saw, decided and did (``poi``), what
was installed (``sbom``), and which live policy came out of it (``provenance``). ``dsse`` signs the first and
the last over their exact ``canonical`` bytes. Each record names the one before it; ``verify`` follows the
links and checks every file.

>>> from node0lib.evidence.canonical import sha256
>>> sha256(b"")[:12]
'e3b0c44298fc'
"""
