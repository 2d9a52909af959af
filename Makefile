# Everything is said by "make help". A newcomer needs two: make demo, make test.

SHELL := /bin/sh
STEP := hack/step
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# The same for programs and tests, so that nothing is compiled twice.
export CGO_ENABLED := 0
export GOFLAGS := $(strip $(GOFLAGS) -trimpath)
# The same tree and VERSION make the same programs, with or without .git beside them.
GOBUILD := $(GO) build -buildvcs=false \
	-ldflags "-s -w -X github.com/cairn-backup/cairn/internal/version.Version=$(VERSION)"
CLUSTERCTL := bin/clusterctl
# Where the cluster's programs are; asked for only when needed.
CLUSTER_BIN = $(shell $(CLUSTERCTL) bin-dir)
RUN ?= .
# The provider: kind, local or existing. Empty: kind where a Docker daemon answers, else local.
export E2E_PROVIDER

.PHONY: help
help: ## Print this.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' Makefile

##@ Build

.PHONY: build
build: ## Build bin/cairn, bin/manager and bin/mover.
	@mkdir -p bin
	@$(STEP) "build cairn, manager and mover" $(GOBUILD) -o bin/ ./cmd/cairn ./cmd/manager ./cmd/mover

.PHONY: generate
generate: bin/controller-gen ## Generate deep copies from the API types.
	@$(STEP) "generate deep copies" bin/controller-gen object:headerFile=/dev/null paths=./api/...

.PHONY: manifests
manifests: bin/controller-gen ## Generate the CRDs and the reference documentation.
	@$(STEP) "generate CRDs" bin/controller-gen crd:generateEmbeddedObjectMeta=true paths=./api/... \
		output:crd:dir=config/crd/bases
	@$(STEP) "leave out what Kubernetes documents" $(GO) run ./hack/trimcrds
	@$(STEP) "generate the reference" $(GO) run ./hack/refdocs

bin/controller-gen: hack/tools/go.mod
	@mkdir -p bin
	@$(STEP) "build controller-gen" $(GO) build -C hack/tools -o ../../bin/controller-gen \
		sigs.k8s.io/controller-tools/cmd/controller-gen

bin/golangci-lint: hack/lint/go.mod
	@mkdir -p bin
	@$(STEP) "build golangci-lint (minutes the first time, cached after that)" \
		$(GO) build -C hack/lint -o ../../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint

##@ Cluster

.PHONY: clusterctl
clusterctl:
	@mkdir -p bin
	@$(STEP) "build clusterctl" $(GO) build -C hack/cluster -o ../../bin/clusterctl ./cmd/clusterctl

.PHONY: preflight
preflight: clusterctl
	@hack/preflight

.PHONY: cluster-programs
cluster-programs: clusterctl
	@$(STEP) "build the cluster's programs (minutes the first time, cached after that)" $(CLUSTERCTL) build

.PHONY: images
images: build clusterctl ## Write the images of the manager and the mover, and what is in them, to dist/images.
	@$(STEP) "write the images of Cairn" hack/images cairn

.PHONY: reproducible
reproducible: clusterctl ## Build the images from two directories, each with an empty cache, and compare them.
	@hack/reproducible

.PHONY: testbed-images
testbed-images: images cluster-programs
	@$(STEP) "write the images of the testbed" hack/images testbed

.PHONY: e2e-images
e2e-images: clusterctl ## Write the images of the databases and the Pushgateway to dist/images.
	@$(STEP) "write the image of the Pushgateway" hack/images pushgateway
	@$(STEP) "write the images of the databases" hack/images databases

.PHONY: testbed
testbed:
	@mkdir -p bin
	@$(STEP) "build the testbed" $(GO) build -o bin/testbed ./e2e/cmd/testbed

.PHONY: cluster-up
cluster-up: preflight testbed-images testbed ## Start an empty cluster.
	@$(STEP) "start the cluster" bin/testbed up

.PHONY: deploy
deploy: testbed-images testbed ## Put Cairn, a Git server and an S3 server into the cluster and print their addresses.
	@$(STEP) "deploy" bin/testbed deploy

.PHONY: cluster-down
cluster-down: clusterctl testbed ## Remove the cluster and everything in it.
	@$(STEP) "remove the cluster" bin/testbed down

##@ See it and test it

.PHONY: demo
demo: preflight testbed-images testbed ## Show the whole way: policy in Git, backups, a restore, records in Git.
	@bin/testbed demo

.PHONY: demo-down
demo-down: cluster-down ## Remove what the demo left, also after it was interrupted.

# The packages with tests: go test vets the others too, and with them all of Kubernetes, which takes minutes. "make
# lint" vets ours more thoroughly, so that "make test" need not.
TESTED := {{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}

# The packages that only "make e2e" and "make bench" run: elsewhere all of their tests are skipped.
ON_CLUSTER := /e2e$$|/e2e/faults$$|/e2e/overhead$$

# As many as CI has processors: more of them make each other slower, and waits of tests run out.
TEST_PACKAGES ?= 2

# Further packages that "make test" leaves out, as a regexp; ^$ is none.
NOT_TESTED ?= ^$$

.PHONY: test
test: clusterctl ## Run the unit tests and those against a real API server.
	@$(CLUSTERCTL) preflight --install --for=test
	@$(STEP) "build etcd, kube-apiserver and the S3 server (minutes the first time, cached after that)" \
		$(CLUSTERCTL) build --only=test
	@$(STEP) "unpack the databases" hack/databases >/dev/null
	@$(STEP) "test" env KUBEBUILDER_ASSETS="$${KUBEBUILDER_ASSETS:-$(CLUSTER_BIN)}" VERSITYGW=$(CLUSTER_BIN)/versitygw \
		CAIRN_DATABASES="$$(hack/databases)" $(GO) test -vet=off -timeout 45m -p $(TEST_PACKAGES) \
		$$($(GO) list ./... | grep -Ev '$(ON_CLUSTER)|$(NOT_TESTED)')
	@$(STEP) "test what describes and checks the images" $(GO) test -C hack/supply ./...
	@$(STEP) "test the cluster's own programs" $(GO) test -C hack/cluster \
		$$($(GO) list -C hack/cluster -f '$(TESTED)' ./...)

# How long the model of repositories runs; "make test" gives it a minute.
FOR ?= 10m

.PHONY: model
model: ## Run the life of repositories against a model, for FOR=10m; SEED=n runs one world again.
	@$(GO) test -vet=off -count=1 -v -timeout 0 ./internal/mover/modeltest -model.for=$(FOR) -model.random \
		$(if $(SEED),-model.seed=$(SEED))

# How long each fuzz target runs, and a regexp of the targets; "make test" only tries the inputs that are kept.
FUZZ_FOR ?= 1m
FUZZ ?= .

.PHONY: fuzz
fuzz: ## Look for inputs that break a parser, FUZZ_FOR=1m for each target; FUZZ=regexp for some.
	@env FUZZ_FOR='$(FUZZ_FOR)' FUZZ='$(FUZZ)' hack/fuzz

# How many scenarios run at a time: they wait more than they work. At least as many as TestOutages has.
E2E_PARALLEL ?= 10

# The packages run beside each other, because those without a cluster have API servers of their own. "make lint" vets
# them.
.PHONY: e2e
e2e: preflight testbed-images e2e-images testbed ## Run the end-to-end scenarios on a real cluster; RUN=regexp for some.
	@$(STEP) "start the cluster" bin/testbed up
	@$(STEP) "run the scenarios" env CAIRN_E2E=1 CAIRN_BIN=$(CURDIR)/bin CLUSTER_BIN=$(CLUSTER_BIN) \
		KUBEBUILDER_ASSETS="$${KUBEBUILDER_ASSETS:-$(CLUSTER_BIN)}" \
		$(GO) run ./hack/scenarios -table dist/scenarios.txt \
		$(GO) test -json -vet=off -p 2 -parallel $(E2E_PARALLEL) -count=1 -timeout 70m \
		-run '$(RUN)' ./e2e/...

.PHONY: bench
bench: clusterctl ## Measure, and print each figure beside its bar; ONLY=regexp for some, also for very long ones.
	@$(CLUSTERCTL) build --only=test
	@$(STEP) "measure" env CAIRN_E2E=1 CAIRN_BIN=$(CURDIR)/bin CLUSTER_BIN=$(CLUSTER_BIN) \
		KUBEBUILDER_ASSETS="$${KUBEBUILDER_ASSETS:-$(CLUSTER_BIN)}" VERSITYGW=$(CLUSTER_BIN)/versitygw \
		$(GO) run ./hack/bench -only '$(ONLY)'

# What the benchmarks on a cluster need; hack/bench asks for it.
.PHONY: bench-cluster
bench-cluster: preflight testbed-images testbed
	@$(STEP) "build K8up to compare with" hack/images k8up
	@$(STEP) "start the cluster" bin/testbed up

##@ Check

.PHONY: lint
lint: bin/golangci-lint ## Hold the rules of .golangci.yml.
	@$(STEP) "lint" bin/golangci-lint run
	@cd hack/lint && ../step "lint the proof of the linter" env LOG_LEVEL=error ../../bin/golangci-lint run
	@$(STEP) "prove that the linter finds a break of each rule" $(GO) test -C hack/lint -count=1 ./...

# A directory with a copy of the Go vulnerability database.
VULNDB ?=

.PHONY: vulncheck
vulncheck: build ## Compare the modules of the programs with the advisories in VULNDB=directory; asks no server.
	@$(GO) run -C hack/supply ./vuln -db '$(abspath $(VULNDB))' $(abspath bin/cairn bin/manager bin/mover)

.PHONY: format
format: bin/golangci-lint ## Format the Go files.
	@bin/golangci-lint fmt

.PHONY: verify
verify: lint ## Hold the rules for code, line lengths, modules and generated files.
	@$(STEP) "verify" hack/verify
