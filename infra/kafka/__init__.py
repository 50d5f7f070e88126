"""The only door to Kafka for the servers: client options, topics, producer, lag."""
