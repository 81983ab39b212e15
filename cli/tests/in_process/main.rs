//! The command line called as a function: exit codes, messages, JSON, passwords.

mod check;
mod errors;
mod keys;
mod look;
mod passwords;
mod support;
