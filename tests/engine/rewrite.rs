//! `tag` and `rewrite`: new snapshots in the place of old ones; nothing is lost, nothing twice, whatever
//! comes in between.

#[path = "rewrite/scene.rs"]
mod scene;
#[path = "rewrite/strip.rs"]
mod strip;
#[path = "rewrite/tags.rs"]
mod tags;
