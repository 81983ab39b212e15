//! Databases day by day: what a day costs, what comes back, where they are cut, how chains of days end, and
//! what reading them costs. Death and damage in such repositories: `chains.rs`.
#![allow(
    clippy::disallowed_methods,
    reason = "files that are not a repository's are written as anyone would"
)]

#[path = "pages/cuts.rs"]
mod cuts;
#[path = "pages/daily.rs"]
mod daily;
#[path = "pages/damaged.rs"]
mod damaged;
#[path = "pages/fetches.rs"]
mod fetches;
#[path = "pages/hosts.rs"]
mod hosts;
#[path = "pages/logs.rs"]
mod logs;
#[path = "pages/long.rs"]
mod long;
#[path = "pages/pruned.rs"]
mod pruned;
#[path = "pages/reading.rs"]
mod reading;
#[path = "pages/renamed.rs"]
mod renamed;
#[path = "pages/roomless.rs"]
mod roomless;
#[path = "pages/scene.rs"]
mod scene;
#[path = "pages/shapes.rs"]
mod shapes;
#[path = "pages/swapped.rs"]
mod swapped;
