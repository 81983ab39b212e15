//! `restore`, `dump` and `ls`: what was stored comes back bit for bit, whatever stands in the
//! target, and nothing outside of it is touched.
#![allow(
    clippy::disallowed_methods,
    reason = "files that are not a repository's are written as anyone would"
)]

#[path = "restore/attacks.rs"]
mod attacks;
#[path = "restore/build.rs"]
mod build;
#[path = "restore/compare.rs"]
mod compare;
#[path = "restore/damage.rs"]
mod damage;
#[path = "restore/options.rs"]
mod options;
#[path = "restore/reading.rs"]
mod reading;
#[path = "restore/resume.rs"]
mod resume;
#[path = "restore/roundtrip.rs"]
mod roundtrip;
