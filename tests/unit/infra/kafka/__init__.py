"""Tests of the Kafka door, without a broker."""
