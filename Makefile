# The table of contents: `make help`. Every result lies under build/.

SET        ?= edge
CHECKPOINT ?= tb/data/awq_gemm.safetensors
LAYER      ?=
LIBERTY    ?=
TOKENS     ?= 20
REQUANTISE ?=
SEED       ?= 1
SWEEP      ?= examples/cheapest_mac.toml
FAMILY     ?= ecp5
SEEDS      ?= 5
COUNT      ?=
WORKERS    ?= 2
MINUTES    ?= 10

export PYTHONPYCACHEPREFIX := $(CURDIR)/build/pycache

BIN   := build/venv/bin
MIXPE := $(BIN)/mixpe

.PHONY: help setup sim test test-full verilog synth fpga bench fidelity claims netlist-sim \
        formal mutate coverage vectors second-sim soak evidence explore sets sizes figures \
        formats registers lint clean distclean

help:         ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup:        ## Install the locked dependencies into build/venv, once
	@scripts/setup.sh

sim: setup    ## Run checkpoint layers through the Verilog of SET and compare [CHECKPOINT LAYER TOKENS SEED REQUANTISE]
	@$(MIXPE) sim --set "$(SET)" --checkpoint "$(CHECKPOINT)" $(if $(LAYER),--layer "$(LAYER)") \
		--tokens "$(TOKENS)" --seed "$(SEED)" $(if $(REQUANTISE),--requantise)
	@$(MIXPE) attention --seed "$(SEED)"

test: setup   ## Run the tests
	@$(BIN)/pytest -n $(WORKERS) --dist loadgroup -m "not full"

test-full: setup  ## Run the long tests too
	@$(BIN)/pytest -n $(WORKERS) --dist loadgroup --hypothesis-profile=full

verilog: setup  ## Write the Verilog of SET to build/verilog
	@$(MIXPE) verilog --set "$(SET)"

synth: setup  ## Area, timing and power of SET's tile or softmax unit and its rivals [LIBERTY]
	@$(MIXPE) synth --set "$(SET)" $(if $(LIBERTY),--liberty "$(LIBERTY)")

fpga: SET := $(if $(filter file,$(origin SET)),fpga,$(SET))
fpga: setup   ## Place and route SET's tile and INT8 tiles of its shape on FAMILY [SEEDS]
	@$(MIXPE) fpga --set "$(SET)" --family "$(FAMILY)" --seeds "$(SEEDS)" --workers "$(WORKERS)"

bench: setup  ## Measure every tile and rival in one run: ratios against targets, and plots [LIBERTY]
	@$(MIXPE) bench $(if $(LIBERTY),--liberty "$(LIBERTY)") --workers $(WORKERS)

# The default checkpoint is that of `make sim`.
fidelity: setup  ## Noise of every scheme, errors of softmax, salience against chance [CHECKPOINT LAYER SEED]
	@$(MIXPE) fidelity $(if $(filter-out file,$(origin CHECKPOINT)),--checkpoint "$(CHECKPOINT)") \
		$(if $(LAYER),--layer "$(LAYER)") --seed "$(SEED)" --workers "$(WORKERS)"

claims: setup  ## Compare layers of models on machines of equal area, beside the papers' claims [CHECKPOINT LAYER LIBERTY SEED]
	@$(MIXPE) claims $(if $(filter-out file,$(origin CHECKPOINT)),--checkpoint "$(CHECKPOINT)") \
		$(if $(LAYER),--layer "$(LAYER)") $(if $(LIBERTY),--liberty "$(LIBERTY)") \
		--seed "$(SEED)" --workers "$(WORKERS)"

netlist-sim: setup  ## Run the benches on the mapped netlists of SET [LIBERTY SEED]
	@$(MIXPE) netlist-sim --set "$(SET)" $(if $(LIBERTY),--liberty "$(LIBERTY)") --seed "$(SEED)"

formal: setup  ## Prove what is claimed of the blocks for all inputs, and refute it of broken copies
	@$(MIXPE) formal --workers "$(WORKERS)"

mutate: setup  ## Change blocks in single places and see whether their benches notice [SEED]
	@$(MIXPE) mutate --seed "$(SEED)" --workers "$(WORKERS)"

coverage: setup  ## Measure what the benches reach: lines, branches, toggles, crosses of stimuli [SEED]
	@$(MIXPE) coverage --seed "$(SEED)" --workers "$(WORKERS)"

vectors: setup  ## Hold the float arithmetic of every block against two references [COUNT SEED]
	@$(MIXPE) vectors $(if $(COUNT),--count "$(COUNT)") --seed "$(SEED)" --workers "$(WORKERS)"

second-sim: setup  ## Run the fixtures of every set in a second simulator and compare [SEED]
	@$(MIXPE) second-sim --seed "$(SEED)" --workers "$(WORKERS)"

soak: setup   ## Run blocks of random sets on their benches for MINUTES; goes on if interrupted [SEED]
	@$(MIXPE) soak --minutes "$(MINUTES)" --seed "$(SEED)" --workers "$(WORKERS)"

evidence: setup  ## Collect what formal to soak have found, with area and frequency, by set [LIBERTY]
	@$(MIXPE) evidence $(if $(LIBERTY),--liberty "$(LIBERTY)") --workers "$(WORKERS)"

# All cores unless WORKERS is given; its default is for the tests.
explore: setup  ## Measure the tiles of SWEEP and show the Pareto front, on all cores or WORKERS [LIBERTY]
	@$(MIXPE) explore "$(SWEEP)" $(if $(LIBERTY),--liberty "$(LIBERTY)") \
		$(if $(filter-out file,$(origin WORKERS)),--workers "$(WORKERS)")

sets: setup   ## List the parameter sets
	@$(MIXPE) sets

sizes: setup  ## Renew the tables of sizes and ratios in README.md and docs/bench.md
	@$(MIXPE) sizes

figures: setup  ## Renew the drawings in docs/figures
	@$(MIXPE) figures

formats: setup  ## Renew docs/formats.md, the formats and how they may be combined
	@$(MIXPE) formats

registers: setup  ## Renew the pages of registers in docs, and write C headers and SystemRDL
	@$(MIXPE) registers --page docs/registers.md
	@$(MIXPE) registers --set attention --page docs/softmax-registers.md
	@$(MIXPE) registers --set attention_pv --page docs/values-registers.md

lint: setup   ## Check style and types
	@$(BIN)/ruff check .
	@$(BIN)/mypy

clean:        ## Remove build/ but for the installed packages
	@[ ! -d build ] || find build -mindepth 1 -maxdepth 1 ! -name venv ! -name cells ! -name pycache \
		-exec rm -rf {} +

distclean:    ## Remove build/
	@rm -rf build
