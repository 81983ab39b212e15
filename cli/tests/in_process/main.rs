//! The command line called as a function: exit codes, messages, JSON, passwords.

mod across;
mod calendar;
mod check;
mod databases;
mod errors;
mod forgetting;
mod hints;
mod json;
mod keys;
mod look;
mod manuals;
mod passwords;
mod progress;
mod repairing;
mod restoring;
mod sources;
mod support;
