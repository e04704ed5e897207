# What docker-compose.yml runs as collector; every kimp command is inside: docker compose run --rm collector kimp --help
# Everything installed is pinned with its hashes: requirements.lock, and docker/build.lock for the build itself.

FROM python:3.11.16-slim-bookworm AS build

WORKDIR /build
COPY docker/build.lock requirements.lock ./
RUN pip install --no-cache-dir --only-binary :all: --require-hashes --requirement build.lock \
    && python -m venv --without-pip /opt/kimp \
    && pip --python /opt/kimp/bin/python install --no-cache-dir --only-binary :all: \
        --require-hashes --requirement requirements.lock

COPY shared shared
COPY storage storage
COPY order order
COPY research research
COPY portfolio portfolio
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir wheels \
        ./shared ./storage ./order ./research ./portfolio \
    && pip --python /opt/kimp/bin/python install --no-cache-dir --no-deps --no-index wheels/*.whl

COPY docker/healthcheck.py /opt/kimp/healthcheck.py


FROM python:3.11.16-slim-bookworm

# Nothing is installed at run time, so what installs goes too.
RUN groupadd --gid 10001 kimp \
    && useradd --uid 10001 --gid kimp --no-create-home --home-dir /data --shell /usr/sbin/nologin kimp \
    && install --directory --owner kimp --group kimp --mode 0700 /data \
    && pip uninstall --yes setuptools wheel pip

COPY --from=build /opt/kimp /opt/kimp

# The root file system is read-only where Compose runs this: all that is written goes to /data, or is lost in /tmp.
ENV PATH=/opt/kimp/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CACHE_DIR=/data/.cache/numba \
    HOME=/data \
    KIMP__DATA__DIRECTORY=/data

USER 10001:10001
WORKDIR /data
VOLUME /data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=150s --retries=4 CMD ["python", "/opt/kimp/healthcheck.py"]
CMD ["kimp", "collect"]
