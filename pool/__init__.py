"""linkpool: one-off scheduling links, made ahead of time and claimed in about a millisecond."""

import sys

# Two libraries bring rich along, if it is there: httpx for a command line of its own, structlog for
# coloured tracebacks. Nothing here uses either. They would cost each process some 8 MB, and a tenth
# of the time that its imports take. None is Python's way to say that a module is not there.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
if "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]
