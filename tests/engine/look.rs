//! `find`, `diff`, `stats`, `tensors`: what is in snapshots, across snapshots; files of them, open.

#[path = "look/diff.rs"]
mod diff;
#[path = "look/files.rs"]
mod files;
#[path = "look/find.rs"]
mod find;
#[path = "look/scene.rs"]
mod scene;
#[path = "look/stats.rs"]
mod stats;
#[path = "look/tensors.rs"]
mod tensors;
