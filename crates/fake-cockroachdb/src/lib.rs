//! A server that speaks CockroachDB's changefeeds, and misbehaves on demand.
