//! A Rowtide source that reads CockroachDB changefeeds.
