# The webhook's image: one static program and nothing else. `make dist` puts the programs in dist/<arch>/.
FROM scratch
# Set by BuildKit and buildah; a default would hide BuildKit's value.
ARG TARGETARCH
# Includes a link with the name that upstream's manifests start: /manager.
COPY dist/${TARGETARCH}/ /
# The allocator takes memory as needed, 10 MB when idle instead of 19 MB, and returns free memory at once: otherwise, many
# large answers in a row would take twice what they need, more than the container has.
ENV MIMALLOC_ARENA_EAGER_COMMIT=0 MIMALLOC_PURGE_DELAY=0
USER 65532:65532
EXPOSE 9443 9440 8095
ENTRYPOINT ["/azwi-webhook"]
