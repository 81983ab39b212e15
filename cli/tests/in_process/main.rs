//! The command line called as a function: exit codes, messages, JSON, passwords.

mod calendar;
mod check;
mod databases;
mod errors;
mod forgetting;
mod keys;
mod look;
mod passwords;
mod repairing;
mod sources;
mod support;
