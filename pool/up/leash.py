"""Tie a part's process to its parent, then become its command. Runs as a script before each part.

    python -I -S leash.py SHARED_LOCK OWN_LOCK NICENESS COMMAND...

On Linux the kernel sends the process SIGTERM when its parent dies, in whatever way, so that
no part outlives `linkpool up`. SIGTERM and not SIGKILL: Redis must get to write its last second.

Each lock is a file, or "-" for none, held until the process and everything it forks has ended.
SHARED_LOCK is held by all parts together: a process that can take it alone knows that none is left.
OWN_LOCK is held alone: two Redis servers never write into one directory, not even while one is
still ending and the next one starts.

NICENESS is how far the process steps back behind the others while the machine is busy (0: not).

It imports little of the standard library and nothing else, because it runs before every start.
"""

import os
import signal
import sys

# The process that must be our parent; set by each leash for the children of its command.
PARENT = "LEASH_PARENT"
_PR_SET_PDEATHSIG = 1
_MOST_FILES = 65_536


def command(
    executable: str, shared: str, own: str, argv: list[str], *, niceness: int = 0
) -> list[str]:
    """Return the command line that runs `argv` on a leash; its first word is an absolute path."""
    return [executable, "-I", "-S", __file__, shared or "-", own or "-", str(niceness), *argv]


def _end_with_the_parent() -> None:
    if sys.platform != "linux":
        return
    import ctypes  # here, because other systems do not need it

    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM), 0, 0, 0) != 0:
        sys.exit(f"leash: prctl failed: {os.strerror(ctypes.get_errno())}")


def _hold(path: str, *, alone: bool) -> None:
    if path == "-":
        return
    import fcntl  # here and below: Windows imports this module, never runs it

    how = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(file, how)
    os.set_inheritable(file, True)


def _allow_many_connections() -> None:
    import resource

    # The usual soft limit of 1024 open files is fewer than the visitors of a busy second.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(_MOST_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            return  # macOS has a lower ceiling of its own; the soft limit stays


def main(shared: str, own: str, niceness: int, argv: list[str]) -> None:
    """Become the command, or exit if the parent is already gone. Never returns."""
    _end_with_the_parent()
    # The parent may have died before the kernel was asked to watch it.
    if str(os.getppid()) != os.environ.get(PARENT, str(os.getppid())):
        sys.exit("leash: the parent has gone")
    _hold(shared, alone=False)
    _hold(own, alone=True)
    _allow_many_connections()
    os.nice(niceness)
    os.environ[PARENT] = str(os.getpid())
    os.execv(argv[0], argv)  # noqa: S606 - this is all it is for


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
