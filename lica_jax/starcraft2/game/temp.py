"""A directory for the games of a run that does not outlive the run, however it ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lica_jax.errors import UserError

# Waits for its input to end, which it does when the process that holds the other end is gone. The
# death signal does not reach what a script started as a child: such a game is known by its
# directory. Twice, since games and workers may still write while they die.
SWEEP = """
trap '' HUP INT TERM
read -r _
for file in $(grep -lsaF -- "$0/" /proc/[0-9]*/cmdline); do
    pid=${file#/proc/}
    kill -9 "${pid%/cmdline}"
done
rm -rf -- "$0"
sleep 2
rm -rf -- "$0"
"""


@contextlib.contextmanager
def temp_root(prefix: str = "lica-sc2-") -> Iterator[Path]:
    """A private directory for the games of a run, gone afterwards.

    A small shell process waits for the end of this one and then removes the directory, so that it
    goes even when everything else is killed.
    """
    try:
        root = Path(tempfile.mkdtemp(prefix=prefix)).resolve()
    except OSError as error:
        raise UserError(
            f"no temporary directory can be made ({error}); set TMPDIR to one that is writable"
        ) from None
    if "\n" in str(root):  # the sweeper looks for it by lines
        root.rmdir()
        raise UserError("TMPDIR contains a line break; set it to another directory")
    owner, sweeper = os.getpid(), None
    try:
        with contextlib.suppress(OSError):  # no /bin/sh: then only killing us leaves it behind
            sweeper = subprocess.Popen(
                ["/bin/sh", "-c", SWEEP, str(root)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
        yield root
    finally:
        if os.getpid() == owner:  # not a forked copy of us
            shutil.rmtree(root, ignore_errors=True)
            if sweeper is not None:
                sweeper.kill()
                sweeper.wait()
                sweeper.stdin.close()
