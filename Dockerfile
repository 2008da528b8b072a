# The server of hydrofill, without PyTorch.
#   docker build -t hydrofill .                                            the CPU image
#   docker build -t hydrofill:gpu --target gpu --build-arg EXTRA=gpu .     the GPU image, with CUDA and cuDNN
# The base image can be pinned: --build-arg PYTHON_DIGEST=@sha256:...
ARG PYTHON_DIGEST=""
# The processors that the kernels are compiled for. x86-64-v3 has AVX2: Intel since 2013, AMD since 2015. `generic` runs on
# every processor of an architecture, and is the choice on ARM.
ARG KERNELS_FOR="x86-64-v3"


FROM python:3.11-slim-bookworm${PYTHON_DIGEST} AS build
ARG EXTRA=serve
ARG KERNELS_FOR
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv --without-pip /opt/venv
# The dependencies come first, so that a change of the code leaves their layer as it is.
COPY pyproject.toml ./
COPY constraints constraints
COPY docker/requirements.py docker/trim.py docker/
RUN python docker/requirements.py pyproject.toml "$EXTRA" > requirements.txt \
 && pip --python /opt/venv/bin/python install --no-compile -c constraints/serve.txt -r requirements.txt \
 && python docker/trim.py /opt/venv
# The library is a package and the server is a folder beside it. The package's bundles are a link to /bundles, so that
# the image holds each bundle once.
COPY README.md LICENSE ./
COPY hydrofill hydrofill
COPY bundles bundles
RUN pip --python /opt/venv/bin/python install --no-compile --no-deps . \
 && rm -r /opt/venv/lib/python3.11/site-packages/hydrofill/bundles \
 && ln -s /bundles /opt/venv/lib/python3.11/site-packages/hydrofill/bundles \
 && rm bundles/*/weights.safetensors \
 && mv bundles /bundles
COPY app /srv/app
# Compile the kernels, so that the first request is as fast as the others; nothing can be written later.
ENV NUMBA_CPU_NAME=$KERNELS_FOR \
    NUMBA_CPU_FEATURES=""
RUN /opt/venv/bin/python -m hydrofill.guesses.compile
# Fill a sample once. This checks the environment, and leaves the byte code of the modules that serving needs.
WORKDIR /tmp
RUN PYTHONPATH=/srv /opt/venv/bin/python -m app fill /srv/app/page/dist/page/sample.nc /tmp/filled.nc


# What both images share: the environment, an unprivileged user, the health check and the settings.
FROM python:3.11-slim-bookworm${PYTHON_DIGEST} AS server
ARG KERNELS_FOR
LABEL org.opencontainers.image.title="hydrofill" \
      org.opencontainers.image.description="Fill the gaps of gridded and gauged water data" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 hydrofill \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin hydrofill
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/srv \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NUMBA_CPU_NAME=$KERNELS_FOR \
    NUMBA_CPU_FEATURES="" \
    NUMBA_CACHE_LOCATOR_CLASSES=hydrofill.guesses.kernels.installed_cache.InstalledCache \
    HYDROFILL_BUNDLES=/bundles \
    HYDROFILL_HOST=0.0.0.0 \
    HYDROFILL_PORT=8000 \
    HYDROFILL_OPEN_TO_NETWORK=true \
    HYDROFILL_DRAIN_S=80
COPY docker/healthcheck.py /opt/healthcheck.py
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv /srv
COPY --from=build /bundles /bundles
WORKDIR /tmp
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "/opt/healthcheck.py"]
ENTRYPOINT ["python", "-m", "app"]
CMD ["serve"]


# CUDA and cuDNN are Python packages of the environment; the driver comes from the host.
FROM server AS gpu
RUN ["python", "-c", "import importlib.metadata as m; m.version('onnxruntime-gpu')  # build with EXTRA=gpu"]
ENV HYDROFILL_PROVIDER=cuda \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    LD_LIBRARY_PATH=/opt/venv/lib/python3.11/site-packages/nvidia/cu13/lib:/opt/venv/lib/python3.11/site-packages/nvidia/cudnn/lib


FROM server AS cpu
