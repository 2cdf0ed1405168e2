# The webhook's image: one static program and nothing else. `make dist` leaves the programs in dist/<arch>/.
FROM scratch
# Given by BuildKit and buildah; a default would hide it from the former.
ARG TARGETARCH
# Beside the program, a link of the name that upstream's manifests start: /manager.
COPY dist/${TARGETARCH}/ /
# The allocator takes memory as it needs it, 10 MB when idle instead of 19 MB, and gives back at once what is free: many large
# answers in a row would otherwise take twice what they need, which is more than the container has.
ENV MIMALLOC_ARENA_EAGER_COMMIT=0 MIMALLOC_PURGE_DELAY=0
USER 65532:65532
EXPOSE 9443 9440 8095
ENTRYPOINT ["/azwi-webhook"]
