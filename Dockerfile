# The server, for a machine without a GPU:
#
#     docker build -t twelvefold .
#     docker run --read-only --tmpfs /tmp --cap-drop ALL -p 127.0.0.1:8000:8000 twelvefold
#
# The default PyTorch package includes CUDA, gigabytes that a CPU does not use. To install a CPU build, name an index that
# has it: --build-arg PIP_EXTRA_INDEX_URL=INDEX_URL.

FROM python:3.11-slim AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
WORKDIR /build
COPY pyproject.toml README.md LICENSE requirements.lock ./
COPY src src
# Use the locked versions without their hashes: a CPU build of PyTorch has a different hash.
RUN sed -e '/--hash=/d' -e 's/ *\\$//' requirements.lock > versions.txt \
    && python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --constraint versions.txt '.[serve]'

FROM python:3.11-slim
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TOKENIZERS_PARALLELISM=false \
    TWELVEFOLD_SERVE_HOST=0.0.0.0
# A numeric id lets an orchestrator verify that it is not root; the user need not exist.
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
ENTRYPOINT ["twelvefold"]
CMD ["serve"]
