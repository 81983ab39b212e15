//! `forget`: its policy beside a straightforward oracle, death at every change, other runs in between.

#[path = "forget/policy.rs"]
mod policy;
#[path = "forget/runs.rs"]
mod runs;
