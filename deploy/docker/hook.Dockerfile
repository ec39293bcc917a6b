# syntax=docker/dockerfile:1
# An image for an init container: it copies the package to a folder for PYTHONPATH, for training images that must not change.
# Build it in a checkout, after `python -m build --wheel`, with the Python of the training image:
#   docker build -f deploy/docker/hook.Dockerfile --build-arg PYTHON=3.11 -t autoinstrument-hook .
ARG PYTHON=3.11
FROM python:${PYTHON}-slim

# Constraints keep the versions that the training image has: packages on PYTHONPATH hide those of site-packages.
# hadolint ignore=DL3013
RUN --mount=type=bind,source=dist,target=/dist \
    pip install --no-cache-dir --target /hook /dist/autoinstrument-*.whl \
    && PYTHONPATH=/hook python -m autoinstrument install --target /hook

USER 10001
CMD ["cp", "-r", "/hook/.", "/mnt/hook"]
