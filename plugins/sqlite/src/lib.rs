mod checkpoint;
mod checkpoint_file;
mod connection;
