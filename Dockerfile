# Build the three images of a deployment: `api` and `cpu` are free of torch, `gpu` carries it.
#
#   docker build --target api .
#
# Packages are installed in their own stages and copied, so that no image holds pip's cache or our sources.

FROM python:3.11.14-slim-bookworm AS base
# Our data folder exists and is ours in the image: a named volume that is first mounted there takes its owner over.
RUN groupadd --gid 10001 earwitness \
    && useradd --uid 10001 --gid earwitness --no-create-home --home-dir /var/lib/earwitness earwitness \
    && install --directory --owner earwitness --group earwitness /var/lib/earwitness
ENV PATH=/opt/earwitness/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    EARWITNESS_DATA_DIR=/var/lib/earwitness
WORKDIR /var/lib/earwitness

FROM base AS wheel
COPY . /source
RUN --mount=type=cache,target=/root/.cache/pip pip wheel --no-deps --wheel-dir /wheels /source

FROM base AS api-packages
COPY constraints.txt /constraints.txt
COPY --from=wheel /wheels /wheels
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv /opt/earwitness \
    && pip install --constraint /constraints.txt /wheels/*.whl

# The speech detector's wheel asks for torch, which only its Python code needs; we run the ONNX file inside it.
FROM api-packages AS cpu-packages
RUN --mount=type=cache,target=/root/.cache/pip pip install --constraint /constraints.txt --no-deps silero-vad

FROM cpu-packages AS gpu-packages
RUN --mount=type=cache,target=/root/.cache/pip \
    for wheel in /wheels/*.whl; do pip install --constraint /constraints.txt "${wheel}[gpu]" || exit 1; done

# REST.
FROM base AS api
COPY --from=api-packages /opt/earwitness /opt/earwitness
USER 10001:10001
EXPOSE 8000
CMD ["earwitness", "api"]

# Decoding, planning and finishing.
FROM base AS cpu
COPY --from=cpu-packages /opt/earwitness /opt/earwitness
USER 10001:10001
CMD ["earwitness", "worker", "--kind", "cpu"]

# Hearing. CUDA's libraries come with torch's wheel; the host brings the driver.
FROM base AS gpu
COPY --from=gpu-packages /opt/earwitness /opt/earwitness
ENV HF_HOME=/var/lib/earwitness/models
USER 10001:10001
CMD ["earwitness", "worker", "--kind", "gpu"]

# The S3 server, with a folder that it may write to without being root.
FROM versity/versitygw:v1.8.0 AS objects
RUN mkdir /objects && chown 10001:10001 /objects
USER 10001:10001
