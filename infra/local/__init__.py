"""Kafka and Cassandra as real servers on this machine, without Docker and without a Java installed.

`servers.LocalServers` is the door; `settings.LocalSettings` says where things lie. Importing this
package starts nothing and loads neither a Kafka nor a Cassandra client.
"""
