//! Hands the target triple to `ballast version`.
#![allow(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=BALLAST_TARGET={}", std::env::var("TARGET").unwrap_or_default());
}
