# The usual targets of Kubewarden policies, and a few more; `make help` lists them.

POLICY_CRATE := azure-workload-identity-policy
WASM_TARGET := wasm32-wasip1
# Maximum size of the policy in bytes, and crates that must never get into it.
WASM_LIMIT := 220000
WASM_FOREIGN := tokio|rustls|ring|hyper|kube|reqwest|async-std|openssl|aws-lc-rs

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
# Cuts off source paths in panic messages, so that every machine builds the same bytes.
CARGO_HOME_DIR := $(or $(CARGO_HOME),$(HOME)/.cargo)
# As a cdylib only: cargo does no link-time optimisation if it also builds an rlib.
BUILD_POLICY := cargo rustc --locked --profile wasm --target $(WASM_TARGET) -p $(POLICY_CRATE) --lib --crate-type cdylib
WASM_BUILT := $(TARGET_DIR)/$(WASM_TARGET)/wasm/azure_workload_identity_policy.wasm
CONFORMANCE := e2e-tests/conformance/handwritten.jsonl e2e-tests/conformance/random.jsonl.gz e2e-tests/conformance/own.jsonl
# One selection of packages for everything: cargo compiles shared dependencies again for every other selection, because their
# features differ. The demo must not wait for the webhook's dependencies, so it is built apart.
TESTED := --locked --workspace --exclude azwi-benchmarks --exclude demo
# Programs of the tests; `build-tests` builds them.
TEST_PROGRAMS := $(TARGET_DIR)/debug
KWCTL_MISSING := kwctl is not installed: https://docs.kubewarden.io/reference/kwctl-cli (1.35 or later)

# Files for `make demo`; empty means the demo's own.
POD :=
SA :=
SETTINGS :=

say = @printf '\n== %s\n' '$(1)'

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / { printf "  %-24s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: toolchain
toolchain: # Installs what rust-toolchain.toml names, if rustup does not do it by itself
	@rustup target list --installed 2>/dev/null | grep -qx $(WASM_TARGET) || rustup toolchain install --no-self-update

# === The policy

.PHONY: policy.wasm
policy.wasm: toolchain ## Build the policy
	CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS='--remap-path-prefix=$(CARGO_HOME_DIR)/registry/src=' \
	  $(BUILD_POLICY)
	@cp $(WASM_BUILT) policy.wasm

.PHONY: have-kwctl
have-kwctl:
	@command -v kwctl >/dev/null || { echo '$(KWCTL_MISSING)'; exit 1; }

.PHONY: annotated-policy.wasm
annotated-policy.wasm: have-kwctl policy.wasm ## Build the policy with its metadata (needs kwctl)
	kwctl annotate -m policy-metadata/metadata.yml -u README.md -o annotated-policy.wasm policy.wasm

.PHONY: inspect
inspect: annotated-policy.wasm ## Show the policy's metadata (needs kwctl)
	kwctl inspect annotated-policy.wasm

# Target of `make publish`: registry://HOST/REPOSITORY:TAG. Recipes read it and VERSION from the environment, so that no
# shell expands their content.
REF ?=

.PHONY: publish-ref
publish-ref:
	@[ -n "$$REF" ] || { echo 'REF is not set: make publish REF=registry://registry.example/azure-workload-identity:v0.1.0'; exit 2; }

.PHONY: publish
publish: publish-ref annotated-policy.wasm ## Push the policy to REF=registry://... and print its immutable reference (needs kwctl)
	@result=$$(kwctl push -o json annotated-policy.wasm "$$REF") || exit 1; \
	printf '%s\n' "$$result" | sed -n 's/.*"immutable_ref":"\([^"]*\)".*/\1/p'

.PHONY: demo
demo: ## Show what the policy does to a pod: make demo POD=pod.yaml SA=sa.yaml SETTINGS=settings.yaml
	$(call say,building the policy; one to four minutes the first time)
	@$(MAKE) --no-print-directory policy.wasm
	$(call say,building what asks it; one to three minutes the first time)
	cargo run --locked -p demo -- \
	  $(if $(POD),--pod '$(POD)') $(if $(SA),--service-account '$(SA)') $(if $(SETTINGS),--settings '$(SETTINGS)')

.PHONY: size
size: policy.wasm build-tests ## Print the policy's size and its parts (by crate: from an uncompressed build with names)
	@RUSTFLAGS='--cfg sha2_backend_soft="compact"' CARGO_PROFILE_WASM_STRIP=none $(BUILD_POLICY) \
	  --target-dir $(TARGET_DIR)/with-names
	@$(TEST_PROGRAMS)/wasm_size policy.wasm --limit $(WASM_LIMIT) \
	  --names $(TARGET_DIR)/with-names/$(WASM_TARGET)/wasm/azure_workload_identity_policy.wasm

# === Checks

.PHONY: test
test: toolchain fmt lint guard cargo-tests size-limit conformance chart drift ## Run every check that needs no other tools and no cluster
	$(call say,all checks passed: formatting$(,) lints$(,) crate guard$(,) tests$(,) size$(,) conformance$(,) chart$(,) drift)

# A comma, which would end an argument.
, := ,

.PHONY: fmt
fmt: ## Check the formatting
	$(call say,formatting)
	cargo fmt --all -- --check

.PHONY: lint
lint: toolchain ## Run clippy, natively and for the wasm
	$(call say,clippy: everything natively$(,) the policy for $(WASM_TARGET))
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked -p $(POLICY_CRATE) --target $(WASM_TARGET) --profile wasm -- -D warnings

.PHONY: guard
guard: toolchain ## Check that no async runtime, TLS, HTTP or kube crate gets into the policy
	$(call say,crates that must not get into the policy)
	@graph=$$(cargo tree --locked -p $(POLICY_CRATE) --target $(WASM_TARGET) -e normal --prefix none) || exit 1; \
	if foreign=$$(printf '%s\n' "$$graph" | grep -E '^($(WASM_FOREIGN))(-[a-z-]+)? v'); then \
	  printf 'found in the policy:\n%s\n' "$$foreign"; exit 1; fi; \
	echo "none of $$(printf '%s\n' "$$graph" | sort -u | wc -l) crates is among $(WASM_FOREIGN)"

.PHONY: build-tests
build-tests: toolchain # With the programs of packages that have integration tests: the webhook, conformance, hostile and others
	cargo test $(TESTED) --no-run

.PHONY: cargo-tests
cargo-tests: policy.wasm ## Run all cargo tests: units, properties, the policy under the embedded host, the webhook over TLS
	$(call say,tests of units$(,) properties over 10$(,)000 generated pods$(,) the real wasm$(,) the real webhook over TLS)
	cargo test $(TESTED)
	@# It has no tests; that it ends well is one.
	cargo run --quiet --locked -p demo >/dev/null

.PHONY: size-limit
size-limit: policy.wasm build-tests
	$(call say,size of the policy)
	$(TEST_PROGRAMS)/wasm_size policy.wasm --limit $(WASM_LIMIT)

.PHONY: conformance
conformance: policy.wasm build-tests ## Compare with upstream's recorded answers, through the core, the wasm and the webhook
	$(call say,upstream'\''s recorded answers)
	$(TEST_PROGRAMS)/conformance --through core,policy,webhook $(CONFORMANCE)

.PHONY: e2e-tests
e2e-tests: policy.wasm build-tests $(if $(shell command -v kwctl),annotated-policy.wasm) ## Run the tests that need other tools: kwctl, policy-server, a registry, Helm, promtool
	$(call say,the real wasm under kwctl and policy-server$(,) in a registry$(,) the chart$(,) the commands in the docs)
	@command -v bats >/dev/null || { echo 'SKIPPED e2e-tests/*.bats: bats is not installed: apt-get install bats'; exit 0; }; \
	e2e-tests/run

# === The webhook host

# Architecture of the image: amd64 or arm64.
ARCH ?= $(if $(filter aarch64 arm64,$(shell uname -m)),arm64,amd64)
MUSL_TARGET := $(if $(filter arm64,$(ARCH)),aarch64,x86_64)-unknown-linux-musl

# Build information for `azwi-webhook version`; the date is the commit's, so that builds are reproducible.
dist: export AZWI_GIT_COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null)
dist: export AZWI_BUILD_DATE ?= $(shell git show -s --format=%cI HEAD 2>/dev/null)

# Build command. Releases use `cargo auditable build`, which records the crates in the program.
CARGO_BUILD := cargo build

.PHONY: dist
dist: ## Build the webhook as one static program into dist/<arch>/ (needs musl-gcc: apt-get install musl-tools)
	@command -v musl-gcc >/dev/null || { echo 'musl-gcc is not installed: apt-get install musl-tools'; exit 1; }
	rustup target add $(MUSL_TARGET)
	$(CARGO_BUILD) --locked --release --target $(MUSL_TARGET) -p azwi-webhook
	@mkdir -p dist/$(ARCH)
	cp $(TARGET_DIR)/$(MUSL_TARGET)/release/azwi-webhook dist/$(ARCH)/
	@ln -sf azwi-webhook dist/$(ARCH)/manager

.PHONY: sbom
sbom: ## List the crates in dist/<arch>/azwi-webhook (needs syft; make dist CARGO_BUILD='cargo auditable build')
	@command -v syft >/dev/null || { echo 'syft is not installed: https://github.com/anchore/syft'; exit 1; }
	@# Not next to the program, where it would become part of the image.
	syft scan --output spdx-json=dist/azwi-webhook-linux-$(ARCH).spdx.json file:dist/$(ARCH)/azwi-webhook

CHART := charts/azure-workload-identity-webhook
STATIC_MANIFESTS := deploy/webhook/azure-wi-webhook.yaml
HELM_MISSING := helm is not installed: https://helm.sh/docs/intro/install

.PHONY: manifests
manifests: ## Render the static manifests from the chart (needs helm)
	@command -v helm >/dev/null || { echo '$(HELM_MISSING)'; exit 1; }
	deploy/webhook/render >$(STATIC_MANIFESTS)

.PHONY: chart
chart: ## Check the chart, and that the static manifests match it (needs helm)
	$(call say,the chart and the static manifests)
	@if ! command -v helm >/dev/null; then echo 'SKIPPED chart: $(HELM_MISSING)'; else \
	  helm lint --quiet --kube-version 1.35.0 --set azureTenantID=contoso.example $(CHART) || exit 1; \
	  if helm template --kube-version 1.35.0 --set azureTenantID=contoso.example --set settings.optin=pod $(CHART) >/dev/null 2>&1; then \
	    echo 'the chart accepted an unknown setting'; exit 1; fi; \
	  deploy/webhook/render | diff -u $(STATIC_MANIFESTS) - || { echo 'run: make manifests'; exit 1; }; \
	  echo '$(STATIC_MANIFESTS) is what the chart gives'; fi

.PHONY: e2e-cluster
e2e-cluster: ## Install the chart on a real cluster and test it there (KUBECONFIG, or one of its own)
	e2e-tests/cluster/run

.PHONY: hostile
hostile: dist policy.wasm build-tests ## Attack the released webhook in 64 MiB, and the policy in 16 MiB; limiting memory needs root (6 minutes)
	$(call say,attacks on the webhook and the policy)
	@$(TEST_PROGRAMS)/hostile --webhook dist/$(ARCH)/azwi-webhook

# How long `make soak` runs.
MINUTES ?= 5

.PHONY: soak
soak: dist build-tests ## Run the released webhook under load for MINUTES=5, with one fault after another; needs root
	$(call say,two replicas at half of their capacity$(,) $(MINUTES) minutes)
	@$(TEST_PROGRAMS)/soak --webhook dist/$(ARCH)/azwi-webhook --minutes $(MINUTES) --output $(TARGET_DIR)/soak.svg

# Seconds for each fuzz target.
SECONDS ?= 60
# Optimized by default; --dev takes half the time to build, and runs slower.
FUZZ_PROFILE ?= --debug-assertions
# The same inputs each time, as far as the time allows; 0 for others each time.
FUZZ_SEED ?= 0

.PHONY: fuzz
fuzz: ## Fuzz each target for SECONDS=60; needs cargo-fuzz, a nightly toolchain and jq
	$(call say,fuzz targets$(,) $(SECONDS) s each$(,) after a build of some minutes)
	@SECONDS_EACH=$(SECONDS) PROFILE=$(FUZZ_PROFILE) SEED=$(FUZZ_SEED) fuzz/run

.PHONY: bench
bench: dist ## Measure the webhook against a server with a constant answer, and against PEER_URL if it is set (7 minutes)
	$(call say,benchmarks: building$(,) then about 7 minutes of measuring)
	cargo build --locked --release --target $(MUSL_TARGET) -p azwi-benchmarks --bin azwi-floor
	cargo build --locked --release -p azwi-benchmarks --bin azwi-bench
	@# The variables are the image's; the floor gets them too.
	MIMALLOC_ARENA_EAGER_COMMIT=0 MIMALLOC_PURGE_DELAY=0 $(TARGET_DIR)/release/azwi-bench --webhook dist/$(ARCH)/azwi-webhook \
	  --floor $(TARGET_DIR)/$(MUSL_TARGET)/release/azwi-floor --output $(TARGET_DIR)/bench.json

# === Artifact Hub and releases

.PHONY: artifacthub
artifacthub: have-kwctl ## Render the files for Artifact Hub from the metadata and the README (needs kwctl)
	artifacthub/render package >artifacthub/artifacthub-pkg.yml.new
	@mv artifacthub/artifacthub-pkg.yml.new artifacthub/artifacthub-pkg.yml
	artifacthub/render readme >artifacthub/README.md

# The version of the release.
VERSION ?=

.PHONY: drift
drift: ## Check that all versions are the same (VERSION=0.1.0: that one), and that Artifact Hub's README is up to date
	$(call say,versions$(,) and the README of Artifact Hub)
	@wanted=$${VERSION:-$$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)}; \
	differ=0; check() { [ "$$2" = "$$wanted" ] || { echo "$$1 has version '$$2', not '$$wanted'"; differ=1; }; }; \
	check Cargo.toml "$$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)"; \
	check policy-metadata/metadata.yml "$$(sed -n 's/^  io.kubewarden.policy.version: *//p' policy-metadata/metadata.yml)"; \
	check artifacthub/artifacthub-pkg.yml "$$(sed -n 's/^version: *//p' artifacthub/artifacthub-pkg.yml)"; \
	check 'the chart' "$$(sed -n 's/^version: *//p' $(CHART)/Chart.yaml)"; \
	check 'the chart'\''s appVersion' "$$(sed -n 's/^appVersion: *v//p' $(CHART)/Chart.yaml)"; \
	for file in deploy/kubewarden/*/*.yaml deploy/kubewarden/policies.yml docs/kubewarden.md; do \
	  for tag in $$(sed -n 's/.*registry:.*azure-workload-identity:v\([0-9.]*[0-9]\).*/\1/p' $$file); do check $$file $$tag; done; \
	done; \
	[ $$differ = 0 ] || exit 1; echo "everything names version $$wanted"
	@artifacthub/render readme | diff artifacthub/README.md - || { echo 'run: make artifacthub'; exit 1; }

.PHONY: deny
deny: ## Check licences, sources and advisories of all crates (needs cargo-deny)
	@command -v cargo-deny >/dev/null || { echo 'cargo-deny is not installed: cargo install --locked cargo-deny'; exit 1; }
	cargo deny check bans licenses sources
	@if cargo deny fetch db >/dev/null 2>&1; then cargo deny check advisories; \
	else echo 'SKIPPED deny: advisories, because their database cannot be reached'; fi

.PHONY: clean
clean: ## Remove build results
	cargo clean
	rm -f policy.wasm annotated-policy.wasm
