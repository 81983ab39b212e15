//! Death and damage in repositories that are full of differences: chains of three, against one base and
//! against two, of tensors, files, directories and lists (`support::weeks`); and of units of a database by grains
//! (`support::days`).

#[path = "chains/damage.rs"]
mod damage;
#[path = "chains/deaths.rs"]
mod deaths;
#[path = "chains/edges.rs"]
mod edges;
#[path = "chains/grains.rs"]
mod grains;
#[path = "chains/woven.rs"]
mod woven;
