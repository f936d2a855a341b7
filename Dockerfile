# syntax=docker/dockerfile:1

# Wheels of linkpool and of all it needs, with traces by OpenTelemetry. The full image, not the slim one: on processors for
# which a dependency has no wheel, it is compiled here.
# Tags move: `deploy/pin-images.sh` adds today's digest to each.
FROM python:3.12-bookworm AS wheels
WORKDIR /source
# Each file of each package has the hash that the lock names: deploy/lock.sh renews it.
COPY requirements.lock requirements-build.lock ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip wheel --wheel-dir /wheels --require-hashes --requirement requirements.lock \
    && pip install --require-hashes --requirement requirements-build.lock
COPY pyproject.toml README.md ./
COPY pool pool
COPY worker worker
COPY sandbox sandbox
RUN pip wheel --wheel-dir /wheels --no-deps --no-build-isolation .

FROM python:3.12-slim-bookworm

# Fixed numbers, so that the owner of a volume stays the same from image to image. A volume
# that is mounted on /data for the first time takes over its owner and mode.
RUN groupadd --gid 10001 linkpool \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin linkpool \
    && install --directory --owner linkpool --group linkpool --mode 0700 /data \
    && install --directory /etc/linkpool

# pip is removed at the end: nothing is installed into a running container.
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links=/wheels linkpool[otel] \
    && pip uninstall --yes --root-user-action=ignore pip

# Nothing is written outside /data and /tmp, so the root file system may be read-only.
# PYTHONSAFEPATH: what lies in the working directory is never imported in place of a module.
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    LINKPOOL_DATA_DIR=/data \
    LINKPOOL_HOST=0.0.0.0

# linkpool.toml is read from here.
WORKDIR /etc/linkpool
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["linkpool"]
CMD ["--help"]
