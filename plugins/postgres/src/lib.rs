//! A Rowtide checkpoint store in PostgreSQL.
