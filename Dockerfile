# The webhook's image: one static program and nothing else. `make dist` leaves the programs in dist/<arch>/.
FROM scratch
ARG TARGETARCH=amd64
# Beside the program, a link of the name that upstream's manifests start: /manager.
COPY dist/${TARGETARCH}/ /
USER 65532:65532
EXPOSE 9443 9440 8095
ENTRYPOINT ["/azwi-webhook"]
