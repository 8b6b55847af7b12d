//! A Rowtide sink that produces to Kafka.
