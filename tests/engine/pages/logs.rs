//! Logs that are only ever appended to: a day costs its tail and little more.

use std::fs;
use std::io::Write;

use support::{Place, bytes, of};

use crate::scene::{place, used};

/// Lines as a service writes them.
fn lines(from: u64, len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for number in from.. {
        let noise = bytes(number, 24);
        let hex: String = noise.iter().map(|b| format!("{b:02x}")).collect();
        let (user, model, ms) = (noise[0] % 40, noise[1] % 6, u32::from(noise[2]) * 17);
        writeln!(
            out,
            r#"{{"time":"2025-04-{:02}T{:02}:{:02}:{:02}Z","level":"info","request":"{}","user":"user-{user}","model":"model-{model}","prompt_tokens":{},"latency_ms":{ms},"path":"/api/chat/completions"}}"#,
            1 + number / 86_400 % 28, number / 3600 % 24, number / 60 % 60, number % 60, &hex[..24], u32::from(noise[3]) * 9
        )
        .unwrap();
        if out.len() >= len {
            break;
        }
    }
    out
}

/// Usual sizes of chunks, as in a repository that a user makes.
fn usual() -> std::sync::Arc<Place> {
    place(&ballast::repo::InitOptions {
        kdf: ballast::crypto::kdf::CHEAP,
        reserve_bytes: 0,
        ..ballast::repo::InitOptions::default()
    })
}

#[test]
fn an_append_costs_its_tail() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap().join("log.jsonl");
    fs::write(&path, lines(0, 8 << 20)).unwrap();
    let place = usual();
    let mut costs = vec![used(&place)];
    let take = || place.run(&of(&path)).unwrap();
    take();
    costs.push(used(&place));
    let mut tails = Vec::new();
    for day in 1..=12u64 {
        let tail = lines(day * 1_000_000, 200_000);
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&tail).unwrap();
        let fresh = zstd_size(&tail);
        let report = take();
        costs.push(used(&place));
        tails.push((tail.len(), fresh, report.new_bytes));
    }
    let days: Vec<u64> = costs.windows(2).map(|w| w[1] - w[0]).collect();
    // The last chunk is stored as the difference to what it was, until its chain is as high as may be: then it
    // is stored alone once.
    let (mut cheap, mut sum, mut alone) = (0, 0, 0);
    for (cost, (_, tail, _)) in days[1..].iter().zip(&tails) {
        cheap += usize::from(*cost < tail * 11 / 10);
        sum += cost;
        alone += tail;
    }
    assert!(cheap >= 8, "{cheap} of 12 days cost their tail: {days:?}");
    assert!(sum < alone * 2, "{sum} for tails that take {alone} alone");
    let expected = fs::read(&path).unwrap();
    let repo = place.open_bare();
    let newest = *repo.ledger(true).unwrap().committed().last().unwrap();
    let node = crate::scene::node_of(&place, newest, &path);
    assert!(crate::scene::read(&repo, &node) == expected);
}

/// What a tail takes when it is stored as a file of its own.
fn zstd_size(tail: &[u8]) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap().join("tail");
    fs::write(&path, tail).unwrap();
    let place = usual();
    let before = used(&place);
    place.run(&of(&path)).unwrap();
    used(&place) - before
}
