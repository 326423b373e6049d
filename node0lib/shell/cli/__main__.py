"""``python -m node0lib.shell.cli`` is ``node0``."""

from node0lib.shell.cli import main

if __name__ == "__main__":
    main(prog_name="node0")
