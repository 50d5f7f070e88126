"""The whole system in one process, on a clock of its own: real logic, modelled log, store, network.

`diffusion simulate` runs it; `diffusion.simulation.world` says what is real and what is a model.
"""
