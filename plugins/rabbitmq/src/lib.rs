//! A Rowtide sink that publishes to RabbitMQ.
