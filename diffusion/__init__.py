"""The command line, and the demonstration: real message traces replayed and checked to the end.

`trace` reads a trace, `workload` makes write events of it, `oracle` says in its own words what
every user must see after them, `baseline` what ordinary incremental sync would cost for the same
state.
"""
