# The capture kernel, in which both programs work in turn.
step bench xtask capture /scenario/plan.json "$results/seen.json"
finish
