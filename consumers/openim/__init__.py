"""The tap of an OpenIM deployment: its Kafka records in, this system's write events out.

wire (bytes to records), content_types and notices (what OpenIM's numbers and details mean), mapping
(a record to events, pure), known (what a record does not say), outbox (events to records), tap (the
loop). `docs/openim.md` tells how to run it.
"""
