//! `find`, `diff`, `stats`, `tensors`: what is in snapshots, across snapshots; files and models of them, open.

#[path = "look/compare.rs"]
mod compare;
#[path = "look/costs.rs"]
mod costs;
#[path = "look/diff.rs"]
mod diff;
#[path = "look/files.rs"]
mod files;
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
