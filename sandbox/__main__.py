"""Serve a local NeetoCal until SIGINT or SIGTERM: `python -m sandbox`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import fields

from sandbox.flags import parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sandbox. Return the exit status: 0 after a stop, 1 if it could not start."""
    flags = parse(sys.argv[1:] if arguments is None else arguments)

    # Imported after the flags, so that --help and a wrong flag do not wait for the web server.
    from sandbox.app import build
    from sandbox.core import Config, Sandbox
    from sandbox.server import listen, serve

    try:
        # Before the state file is opened, so that a second sandbox on the same port stops here.
        bound = listen(flags.host, flags.port)
    except OSError as error:
        reason = error.strerror or str(error)
        return _failed(
            f"cannot listen on {flags.host}:{flags.port}: {reason}; choose another --port"
        )
    host = f"[{flags.host}]" if ":" in flags.host else flags.host
    here = f"http://{host}:{bound.getsockname()[1]}"
    flags.public_url = flags.public_url or here
    config = Config(**{each.name: getattr(flags, each.name) for each in fields(Config)})
    sandbox = Sandbox(config, flags.knobs)
    try:
        sandbox.load()
    except OSError as error:
        bound.close()
        return _failed(f"cannot use --state-file {flags.state_file}: {error.strerror}")

    def ready() -> None:
        sys.stdout.write(f"sandbox serves on {here}\n")
        sys.stdout.flush()

    serve(build(sandbox), sandbox, bound, ready=ready)
    return 0


def _failed(reason: str) -> int:
    sys.stderr.write(f"sandbox: {reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
