//! `find`, `diff`, `stats`: what is in snapshots, across snapshots.

#[path = "look/costs.rs"]
mod costs;
#[path = "look/diff.rs"]
mod diff;
#[path = "look/find.rs"]
mod find;
#[path = "look/lora.rs"]
mod lora;
#[path = "look/scene.rs"]
mod scene;
#[path = "look/stats.rs"]
mod stats;
#[path = "look/tensors.rs"]
mod tensors;
