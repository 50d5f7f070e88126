"""Fuzzing: hostile records through the real stages, hostile requests against the real API.

`samples` are good, `mutate` makes them bad, `records` draws one record of a number. `contract` says
in its own words how many events a record has and how many fit; `ways` takes a record the real way
and counts; `laws` compares; `runs` does it a million times. `requests` and `frames` draw what is
sent to the API, `line` sends it, `crowd` keeps the account, and `api` and `pipeline` are the runs
on real servers. Everything is drawn from a seed and a number, so that each can be run alone.
"""
