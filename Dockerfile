# syntax=docker/dockerfile:1

# One image for every service: which one a container is, its command says.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# The registry and the build output are kept between builds of the image; the program is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked --bin sagaline && cp target/dist/sagaline /sagaline

FROM debian:bookworm-slim
# curl is for the health checks.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home sagaline
COPY --from=build /sagaline /usr/local/bin/sagaline
USER sagaline
ENTRYPOINT ["sagaline"]
CMD ["--help"]
