//! Writes messages into an outbox inside the transaction that changes the data.
