//! How much memory a snapshot takes, however much it reads: measured as the largest resident
//! set of a process of its own.

use std::process::Command;

const LIMIT_BYTES: u64 = 256 << 20;

fn peak_of(total: u64) -> u64 {
    let output =
        Command::new(env!("CARGO_BIN_EXE_worker")).args(["memory", &total.to_string()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

#[test]
fn half_a_gigabyte_of_distinct_bytes() {
    let peak = peak_of(512 << 20);
    assert!(peak <= LIMIT_BYTES, "{} MiB", peak >> 20);
}

/// `cargo test --release -p ballast-tests --test memory -- --ignored`
#[test]
#[ignore = "takes minutes"]
fn twenty_gigabytes_of_distinct_bytes() {
    let peak = peak_of(20 << 30);
    assert!(peak <= LIMIT_BYTES, "{} MiB", peak >> 20);
}
