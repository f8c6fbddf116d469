# Beseda in one image. Everything that it keeps (database, pictures, signing key) is in one volume.
#     docker build --tag beseda . && docker run --publish 8000:8000 --volume beseda:/var/lib/beseda beseda
FROM debian:bookworm-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3-venv \
    && rm -rf /var/lib/apt/lists/*

# Packages change less often than the code, so they are a layer of their own.
WORKDIR /srv/beseda
COPY requirements.txt requirements-s3.txt ./
RUN python3 -m venv .venv \
    && .venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes \
        -r requirements.txt -r requirements-s3.txt

COPY . .
# The code belongs to root: the service writes nothing but its volume.
RUN useradd --system --home-dir /var/lib/beseda beseda \
    && install -d -o beseda -g beseda -m 0700 /var/lib/beseda \
    && ln -s /var/lib/beseda instance \
    && .venv/bin/python -m compileall -q app

ENV PATH=/srv/beseda/.venv/bin:$PATH PYTHONUNBUFFERED=1
USER beseda
VOLUME /var/lib/beseda
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --start-period=30s --interval=30s --timeout=5s \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ.get(\"PORT\", 8000)}/healthz', timeout=4)"]
CMD ["sh", "-c", "umask 0077 && flask --app wsgi db upgrade && exec gunicorn -c gunicorn.conf.py wsgi:app"]
