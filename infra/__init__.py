"""Doors to the world: settings, clock, metrics, Kafka, Cassandra, and servers on this machine.

Everything that touches a server goes through here. Imports `schemas`, and none of the programs.
"""
