//! The files that images install, as images use them.

mod init;
