# hydrofill's server, without torch.
#   docker build -t hydrofill .                        the CPU image
#   docker build -t hydrofill:gpu --target gpu .       onnxruntime-gpu with CUDA and cuDNN as Python packages
# The base can be pinned: --build-arg PYTHON_DIGEST=@sha256:...
ARG PYTHON_DIGEST=""


FROM python:3.11-slim-bookworm${PYTHON_DIGEST} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv --without-pip /opt/venv
COPY pyproject.toml README.md LICENSE ./
COPY constraints constraints
COPY docker/trim.py docker/
# The dependencies first, of an empty package, so that a change of the code leaves their layer as it is.
RUN mkdir app export && touch app/__init__.py export/__init__.py


FROM build AS build-cpu
RUN pip --python /opt/venv/bin/python install --no-compile -c constraints/serve.txt '.[serve]' \
 && python docker/trim.py /opt/venv
COPY app app
COPY export/__init__.py export/
COPY export/contract export/contract
COPY bundles /bundles
RUN pip --python /opt/venv/bin/python install --no-compile --no-deps --force-reinstall .
# Fills a sample once: the image is seen to work, and the byte code of just what serving needs is kept.
WORKDIR /tmp
RUN /opt/venv/bin/python -m app fill /src/app/page/dist/page/sample.nc /tmp/filled.nc --bundle /bundles/lez-daily


FROM build AS build-gpu
RUN pip --python /opt/venv/bin/python install --no-compile -c constraints/serve.txt '.[gpu]' \
 && python docker/trim.py /opt/venv
COPY app app
COPY export/__init__.py export/
COPY export/contract export/contract
COPY bundles /bundles
RUN pip --python /opt/venv/bin/python install --no-compile --no-deps --force-reinstall .
WORKDIR /tmp
RUN /opt/venv/bin/python -m app fill /src/app/page/dist/page/sample.nc /tmp/filled.nc --bundle /bundles/lez-daily


# What both images share: a user without rights, the healthcheck, the bundles.
FROM python:3.11-slim-bookworm${PYTHON_DIGEST} AS base
LABEL org.opencontainers.image.title="hydrofill" \
      org.opencontainers.image.description="Fills the gaps of gridded and gauged water data" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 hydrofill \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin hydrofill
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HYDROFILL_BUNDLES=/bundles \
    HYDROFILL_HOST=0.0.0.0 \
    HYDROFILL_PORT=8000 \
    HYDROFILL_OPEN_TO_NETWORK=true \
    HYDROFILL_DRAIN_S=80
COPY docker/healthcheck.py /opt/healthcheck.py
COPY bundles /bundles
WORKDIR /tmp
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "/opt/healthcheck.py"]
ENTRYPOINT ["python", "-m", "app"]
CMD ["serve"]


FROM base AS gpu
COPY --from=build-gpu /opt/venv /opt/venv
# CUDA and cuDNN lie among the Python packages; the driver comes from the host.
ENV HYDROFILL_PROVIDER=cuda \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    LD_LIBRARY_PATH=/opt/venv/lib/python3.11/site-packages/nvidia/cu13/lib:/opt/venv/lib/python3.11/site-packages/nvidia/cudnn/lib


FROM base AS cpu
COPY --from=build-cpu /opt/venv /opt/venv
