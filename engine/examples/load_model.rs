//! Loads a model straight out of a snapshot, with the `safetensors` crate, and restores nothing.
//!
//! ```sh
//! export BALLAST_PASSWORD_FILE=/root/.ballast-password
//! cargo run --release -p ballast-engine --example load_model -- \
//!     /mnt/backup/vault latest /srv/models/llama/model.safetensors
//! ```
//!
//! Of a file it reads the header first, then each tensor by itself, several at a time. Of an index of shards, or a
//! directory that holds one, it takes the tensors by name, whichever file has them.

use std::error::Error;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ballast::entropy::Surroundings;
use ballast::op::open;
use ballast::repo::file::SnapshotFile;
use ballast::repo::snapshots::Filter;
use ballast::repo::{OpenOptions, Repository};
use ballast::store::local::LocalStore;
use safetensors::tensor::{Metadata, TensorInfo};

/// The password, from where the command line takes it, too.
#[allow(dead_code, reason = "a test calls `load` with a password of its own")]
fn password() -> Result<Vec<u8>, Box<dyn Error>> {
    if let Some(password) = std::env::var_os("BALLAST_PASSWORD") {
        return Ok(password.into_encoded_bytes());
    }
    let file = std::env::var_os("BALLAST_PASSWORD_FILE").ok_or("set BALLAST_PASSWORD_FILE")?;
    let mut password = std::fs::read(file)?;
    let len = password.trim_ascii_end().len();
    password.truncate(len);
    Ok(password)
}

/// What an example for a shell does.
#[allow(dead_code, reason = "a test calls `load`")]
fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [place, snapshot, path] = &args[..] else {
        return Err("usage: load_model REPOSITORY SNAPSHOT PATH".into());
    };
    let cache = std::env::var_os("BALLAST_CACHE_DIR").map(PathBuf::from);
    load(place, &password()?, cache, snapshot, path, &mut std::io::stdout())
}

/// Loads the model at `path` in `snapshot` (`latest`, or the beginning of an id), and tells `out` of each tensor.
pub fn load(
    place: &str,
    password: &[u8],
    cache_dir: Option<PathBuf>,
    snapshot: &str,
    path: &str,
    out: &mut dyn Write,
) -> Result<(), Box<dyn Error>> {
    let options = OpenOptions { cache_dir, ..OpenOptions::default() };
    let store = Arc::new(LocalStore::new(place)?);
    let repo = Repository::open(store, password, &options, Surroundings::system())?;
    let snapshot = repo.find_snapshot(&repo.ledger(false)?, snapshot, &Filter::default())?.id;
    let begun = Instant::now();
    let bytes = match open::file(&repo, snapshot, path.as_bytes()) {
        Ok(file) if !path.ends_with(".index.json") => from_file(&file, out)?,
        _ => by_name(&open::model(&repo, snapshot, path.as_bytes())?, out)?,
    };
    let seconds = begun.elapsed().as_secs_f64();
    writeln!(out, "{bytes} bytes in {seconds:.2} s, {:.2} GB/s", bytes as f64 / seconds / 1e9)?;
    Ok(())
}

/// A safetensors file, without having all of it in memory: its header, then tensor by tensor.
fn from_file(file: &SnapshotFile, out: &mut dyn Write) -> Result<u64, Box<dyn Error>> {
    let mut length = [0; 8];
    file.clone().read_exact(&mut length)?;
    let header_len = u64::from_le_bytes(length).checked_add(8).ok_or("no safetensors file")?;
    // A part that reaches beyond the file is an error, so nothing huge is asked for in vain.
    let header = file.part(0, header_len)?.to_vec()?;
    // `SafeTensors::read_metadata` wants to see all of the file, `Metadata` only what says where things are.
    let metadata: Metadata = serde_json::from_slice(&header[length.len()..])?;
    let tensors: Vec<(String, &TensorInfo)> = metadata.tensors().into_iter().collect();
    for (name, info) in &tensors {
        writeln!(out, "{name} {:?} {:?}", info.dtype, info.shape)?;
    }
    // A thread takes the next tensor when it is done with one; each reads ahead in its own.
    let (next, loaded) = (AtomicUsize::new(0), std::sync::Mutex::new(0u64));
    let work = || -> ballast::error::Result<()> {
        while let Some((_, info)) = tensors.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (from, to) = info.data_offsets;
            let data = file.part(header_len + from as u64, (to - from) as u64)?.to_vec()?;
            // Here a program hands the bytes to its tensor library.
            *loaded.lock().unwrap_or_else(|e| e.into_inner()) += data.len() as u64;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers = [scope.spawn(work), scope.spawn(work)];
        workers.map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
    .into_iter()
    .collect::<ballast::error::Result<()>>()?;
    Ok(loaded.into_inner().unwrap_or_else(|e| e.into_inner()))
}

/// Any model whose tensors the snapshot knows, of one file or of shards.
fn by_name(weights: &ballast::repo::weights::Weights, out: &mut dyn Write) -> Result<u64, Box<dyn Error>> {
    let mut loaded = 0;
    for tensor in &weights.model().tensors {
        let (name, dtype) = (String::from_utf8_lossy(&tensor.name), String::from_utf8_lossy(&tensor.dtype));
        writeln!(out, "{name} {dtype} {:?}", tensor.shape)?;
        loaded += weights.bytes(&tensor.name)?.len() as u64;
    }
    Ok(loaded)
}
