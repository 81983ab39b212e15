//! Shared helpers of the tests.

pub mod counting;
pub mod fuzz;
pub mod golden;
pub mod samples;
