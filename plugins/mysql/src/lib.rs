//! A Rowtide checkpoint store in MySQL and MariaDB.
