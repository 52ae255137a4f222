# make demo   builds, brings the shop up, runs the experiments, shows the verdicts
# make test   passes every test
# Both install what they need on Debian and Ubuntu as root, and say what is missing elsewhere.

GO      ?= go
RUNNER   = bin/runner
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

.DEFAULT_GOAL := build
.PHONY: build demo test lint bench crash docs shop-up shop-down clean

build: ; @.ci/need go && CGO_ENABLED=0 $(GO) build -trimpath -ldflags=-s -o $(RUNNER) ./runner

demo: build ; @.ci/need docker compose && RUNNER=$(RUNNER) experiments/demo.sh

test: build ; @.ci/need docker compose && RUNNER=$(CURDIR)/$(RUNNER) .ci/test

lint: ; @.ci/need go && .ci/lint $(STATICCHECK)

bench: build ; RUNNER=$(CURDIR)/$(RUNNER) $(GO) test -run '^$$' -bench . -benchtime 20x ./...

# Kills, stops and starves the processes of N real runs at every step; see runner/crash;
# then of N on a kernel that has netem; see runner/crash/qdisc.
# CRASH_SEED=… has the same trials again, CRASH_TRIAL=… one of them alone.
crash: build ; RUNNER=$(CURDIR)/$(RUNNER) CRASH_TRIALS=$(or $(N),200) $(GO) test -count=1 -timeout 0 -v -run 'TestSweep$$' ./runner/crash
	RUNNER=$(CURDIR)/$(RUNNER) UML_ONLY=crash UML_TRIALS=$(or $(N),200) $(GO) test -count=1 -timeout 0 -v -run TestInside ./builtins/fault/netem/uml

docs: build ; $(RUNNER) docs > builtins/README.md

shop-up: ; @.ci/need go docker compose && shop/up.sh

shop-down: ; @.ci/need docker compose && shop/down.sh

clean: ; rm -rf bin shop/bin
