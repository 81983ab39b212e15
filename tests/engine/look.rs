//! `find`, `diff`, `stats`: what is in snapshots, across snapshots.

#[path = "look/diff.rs"]
mod diff;
#[path = "look/find.rs"]
mod find;
#[path = "look/scene.rs"]
mod scene;
#[path = "look/stats.rs"]
mod stats;
