mod capture;
mod checkpoint;
mod checkpoint_file;
mod connection;
mod layout;
mod log;
mod names;
mod table;
