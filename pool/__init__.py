"""linkpool: one-off scheduling links, made ahead of time and claimed in about a millisecond."""

import gc
import sys

# All that is imported stays, and the collector would look through it again and again, for a
# twentieth of the time that a start takes. What requests leave behind is freed by reference
# counting; full collections would only cost pauses.
gc.set_threshold(50_000, 20, 100)

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
