//! A Rowtide source that relays the messages of an SQL outbox.
