# syntax=docker/dockerfile:1
# docker build -t pannier . && docker run -p 8000:8000 --add-host host.docker.internal:host-gateway \
#   -e OLLAMA_HOST=http://host.docker.internal:11434 pannier

FROM rust:1.95-bookworm AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends cmake \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /pannier
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY config config
COPY src src
COPY benches benches
COPY tests/servers tests/servers
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/pannier/target \
    cargo build --release --locked --bin pannier \
 && cp target/release/pannier /usr/local/bin/pannier

FROM debian:bookworm-slim
# A number, so that an orchestrator can see that it is not root.
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/pannier pannier
# Whom to believe where Ollama, Redis or PostgreSQL are reached over TLS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /usr/local/bin/pannier /usr/local/bin/pannier
USER 10001
WORKDIR /var/lib/pannier
VOLUME /var/lib/pannier
# The house routes are reached through the main port as well; their own listener stays inside.
ENV PANNIER__SERVER__LISTEN=0.0.0.0:8000 \
    PANNIER__SERVER__DATA_DIR=/var/lib/pannier
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["pannier", "healthcheck"]
ENTRYPOINT ["pannier"]
CMD ["serve"]
