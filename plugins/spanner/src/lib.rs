//! A Rowtide source that reads Cloud Spanner change streams, and a checkpoint store.
