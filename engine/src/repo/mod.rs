//! An opened repository: keys, config and store, and what both readers and
//! writers need. No verbs: those are functions over [`Repository`] in [`crate::op`].

pub mod ahead;
pub mod bases;
pub mod cache;
pub mod clerk;
pub mod copier;
pub mod extract;
pub mod file;
pub mod frames;
pub mod holdings;
pub mod index;
pub mod inspect;
pub mod keys;
pub mod keytext;
pub mod layers;
pub mod lease;
pub mod ledger;
pub mod lookup;
pub mod loom;
pub mod model;
pub mod outbox;
pub mod packfile;
pub mod range;
pub mod reach;
pub mod reader;
pub mod renew;
pub mod reserve;
pub mod seams;
pub mod session;
pub mod snapshots;
pub mod temp;
pub mod trees;
pub mod weights;

mod gather;
mod objects;
mod packer;
mod plain;
mod upload;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::chunk::CutParams;
use crate::crypto::hash::IdKeys;
use crate::crypto::kdf;
use crate::crypto::keys::Keyring;
use crate::entropy::Surroundings;
use crate::error::{Error, Result, StoreErrorKind};
use crate::format::config::{ConfigV1, Features, PADDING_PADME, STORE_ATOMIC_CREATE};
use crate::format::keyfile::KdfParams;
use crate::format::wire::Stamp;
use crate::id::{BlobId, BlobKind, KeyId, ObjectKind, ObjectName, RepoId};
use crate::store::{PutMode, Store};

use cache::CacheDir;
use ledger::Ledger;

/// Name and version of this program, as recorded in what it writes.
pub const PROGRAM: &str = concat!("ballast ", env!("CARGO_PKG_VERSION"));

/// What a new repository is to be.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// Cost of the key derivation.
    pub kdf: KdfParams,
    /// Label of the first key.
    pub label: String,
    /// Sizes of chunks.
    pub cut: CutParams,
    /// Data packs may close from here on.
    pub data_pack_min_bytes: u32,
    /// Data packs close here.
    pub data_pack_max_bytes: u32,
    /// Set aside for the day the disk is full: see [`reserve`].
    pub reserve_bytes: u64,
}

impl Default for InitOptions {
    fn default() -> Self {
        Self {
            kdf: kdf::DEFAULT,
            label: String::new(),
            cut: CutParams::default(),
            data_pack_min_bytes: 8 << 20,
            data_pack_max_bytes: 16 << 20,
            reserve_bytes: reserve::RESERVE_BYTES,
        }
    }
}

/// Who and where this program runs: recorded in snapshots, ledger and leases.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// Host name.
    pub host: String,
    /// User name.
    pub user: String,
}

/// How to open a repository.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Directory under which caches of repositories are kept; `None` for no cache.
    pub cache_dir: Option<PathBuf>,
    /// Accept that the repository is older than what was seen of it before.
    pub accept_older: bool,
    /// Who we are.
    pub identity: Identity,
}

/// An opened repository. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Repository {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    surroundings: Surroundings,
    config: ConfigV1,
    keyring: Keyring,
    ids: IdKeys,
    key: KeyId,
    cache: Option<CacheDir>,
    identity: Identity,
    accept_older: bool,
    notices: Mutex<Vec<String>>,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Repository({} at {})", self.config().repo_id.short(), self.store().location())
    }
}

impl Repository {
    /// Makes a new repository in `store` with one key.
    ///
    /// The key file is written first, `config` last: a place that has a config can
    /// be opened.
    pub fn init(
        store: Arc<dyn Store>,
        password: &[u8],
        options: &InitOptions,
        open: &OpenOptions,
        surroundings: Surroundings,
    ) -> Result<Self> {
        options.cut.validate().map_err(|e| Error::Usage(e.0))?;
        kdf::check_for_writing(&options.kdf)?;
        if Self::exists(store.as_ref())? {
            return Err(Error::AlreadyExists { location: store.location() });
        }
        if holds_data(store.as_ref())? {
            return Err(Error::corrupt(
                store.location(),
                "holds packs or snapshots, but neither config nor key",
            ));
        }
        store.prepare()?;
        // Keys without a config and without data are left from an `init` that was cut short.
        for name in store.list(ObjectKind::Key)? {
            store.remove(&ObjectName::new(ObjectKind::Key, name))?;
        }
        let store_mode =
            if creates_atomically(store.as_ref(), &surroundings)? { STORE_ATOMIC_CREATE } else { 0 };
        let config = ConfigV1 {
            repo_id: RepoId(surroundings.random()?),
            created: Stamp::from_ns(surroundings.clock.now_ns()),
            features: Features::default(),
            cutter_version: options.cut.version,
            table_version: 1,
            chunk_min_bytes: options.cut.min,
            chunk_avg_bytes: options.cut.avg,
            chunk_max_bytes: options.cut.max,
            sqlite_unit_bytes: 64 << 10,
            small_blob_bytes: 64 << 10,
            frame_target_bytes: 256 << 10,
            data_pack_min_bytes: options.data_pack_min_bytes,
            data_pack_max_bytes: options.data_pack_max_bytes,
            metadata_pack_max_bytes: 8 << 20,
            padding: PADDING_PADME,
            store_mode,
            cut_secret: surroundings.random()?,
            id_secret: surroundings.random()?,
            extensions: Vec::new(),
        };
        config.check().map_err(|e| Error::Usage(e.0))?;
        let secrets = [(1, surroundings.random()?)];
        let keyring = Keyring::derive(&secrets).map_err(|e| e.of("new keys"))?;
        let label = keys::label(&options.label, &open.identity.host, &surroundings);
        let (key, bytes) = keys::make(&keyring, &config, label, password, &options.kdf, &surroundings)?;
        store.put(&key.into(), &bytes, PutMode::New)?;
        let sealed = objects::seal_config(&keyring, &config, &surroundings)?;
        store.put(&ObjectName::config(), &sealed, PutMode::New)?;
        // Without it a full disk is only more trouble later.
        if options.reserve_bytes > 0
            && let Err(error) = store.make_reserve(options.reserve_bytes)
        {
            tracing::warn!(%error, "no reserve");
        }
        Ok(Self::assemble(store, surroundings, config, keyring, key, open, Vec::new()))
    }

    /// Is there a repository, whole or damaged, in `store`?
    pub fn exists(store: &dyn Store) -> Result<bool> {
        match store.stat(&ObjectName::config()) {
            Ok(_) => return Ok(true),
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e.into()),
        }
        // A config that was lost: its copy is in each key file.
        Ok(!list_or_none(store, ObjectKind::Key)?.is_empty() && holds_data(store)?)
    }

    /// Opens the repository in `store`. The config is read from its object, or, where that
    /// is damaged or gone, from its copy in the key file, with a notice.
    pub fn open(
        store: Arc<dyn Store>,
        password: &[u8],
        options: &OpenOptions,
        surroundings: Surroundings,
    ) -> Result<Self> {
        if !Self::exists(store.as_ref())? {
            return Err(Error::NoRepository { location: store.location() });
        }
        let unlocked = keys::unlock(store.as_ref(), password, options.cache_dir.as_deref())?;
        let mut notices = unlocked.notices;
        let config = match objects::read_config(store.as_ref(), &unlocked.keyring, &unlocked.config.repo_id) {
            Ok(config) => config,
            Err(error) => {
                notices.push(format!("{error}; its copy in the key file is used"));
                unlocked.config
            }
        };
        config.check().map_err(|e| e.of("config"))?;
        refuse_unknown_features(&config.features)?;
        let repo =
            Self::assemble(store, surroundings, config, unlocked.keyring, unlocked.key, options, notices);
        if let Some(cache) = &repo.inner.cache {
            cache.remember_key(unlocked.key);
        }
        Ok(repo)
    }

    fn assemble(
        store: Arc<dyn Store>,
        surroundings: Surroundings,
        config: ConfigV1,
        keyring: Keyring,
        key: KeyId,
        options: &OpenOptions,
        notices: Vec<String>,
    ) -> Self {
        let ids = IdKeys::derive(&config.id_secret);
        let cache =
            options.cache_dir.as_deref().map(|dir| CacheDir::new(dir, &config.repo_id, &store.location()));
        let inner = Inner {
            store,
            surroundings,
            config,
            keyring,
            ids,
            key,
            cache,
            identity: options.identity.clone(),
            accept_older: options.accept_older,
            notices: Mutex::new(notices),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Where its objects are.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }

    /// Its config.
    pub fn config(&self) -> &ConfigV1 {
        &self.inner.config
    }

    /// How it cuts.
    pub fn cut_params(&self) -> CutParams {
        let c = self.config();
        CutParams {
            version: c.cutter_version,
            min: c.chunk_min_bytes,
            avg: c.chunk_avg_bytes,
            max: c.chunk_max_bytes,
        }
    }

    /// The key file it was opened with.
    pub fn key_id(&self) -> KeyId {
        self.inner.key
    }

    /// Clock and randomness.
    pub fn surroundings(&self) -> &Surroundings {
        &self.inner.surroundings
    }

    /// Who we are.
    pub fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    /// Id of a blob in this repository.
    pub fn blob_id(&self, kind: BlobKind, plain: &[u8]) -> BlobId {
        self.inner.ids.id(kind, plain)
    }

    /// The directory that this repository's cache uses, if any.
    pub fn cache(&self) -> Option<&CacheDir> {
        self.inner.cache.as_ref()
    }

    pub(crate) fn keyring(&self) -> &Keyring {
        &self.inner.keyring
    }

    /// Things worth a line that were noticed while opening or reading; each is given once.
    pub fn take_notices(&self) -> Vec<String> {
        std::mem::take(&mut *self.inner.notices.lock().unwrap_or_else(|e| e.into_inner()))
    }

    pub(crate) fn notice(&self, message: impl Into<String>) {
        let message = message.into();
        tracing::warn!("{message}");
        let mut notices = self.inner.notices.lock().unwrap_or_else(|e| e.into_inner());
        if !notices.contains(&message) {
            notices.push(message);
        }
    }

    /// Reads the ledger and compares it with what was seen here before. Damage in it, and a
    /// repository that was set back, are errors for who writes, notices for who reads. What this
    /// machine has read before is taken from its own copy.
    pub fn ledger(&self, for_writing: bool) -> Result<Ledger> {
        self.accept(Ledger::recall(self, !for_writing)?, for_writing)
    }

    /// The same, but every entry is read where it is: for verbs that look for damage, or delete.
    pub fn whole_ledger(&self, for_writing: bool) -> Result<Ledger> {
        let ledger = if for_writing { Ledger::read(self)? } else { Ledger::read_leniently(self)? };
        self.accept(ledger, for_writing)
    }

    fn accept(&self, ledger: Ledger, for_writing: bool) -> Result<Ledger> {
        refuse_unknown_features(&ledger.features(self.config().features))?;
        if for_writing {
            ledger.refuse_writing(self.config().features)?;
        }
        if !ledger.damage().is_empty() {
            // Read in part, it says nothing about what was seen before.
            ledger.damage().iter().for_each(|damage| self.notice(format!("{damage}; it was passed over")));
            return Ok(ledger);
        }
        if let Some(cache) = &self.inner.cache {
            match cache.compare_head(&ledger) {
                Err(error) if for_writing && !self.inner.accept_older => return Err(error),
                Err(error) => {
                    self.notice(error.to_string());
                    if self.inner.accept_older {
                        cache.remember_head(&ledger);
                    }
                }
                Ok(()) => cache.remember_head(&ledger),
            }
        }
        Ok(ledger)
    }
}

fn refuse_unknown_features(features: &Features) -> Result<()> {
    match Features::names("incompatible", features.incompatible, Features::KNOWN.incompatible) {
        Some(names) => Err(Error::UnknownFeatures { names }),
        None => Ok(()),
    }
}

/// A place that is not there at all holds nothing.
fn list_or_none(store: &dyn Store, kind: ObjectKind) -> Result<Vec<String>> {
    match store.list(kind) {
        Err(e) if e.is_not_found() => Ok(Vec::new()),
        listed => Ok(listed?),
    }
}

fn holds_data(store: &dyn Store) -> Result<bool> {
    for kind in [ObjectKind::Ledger, ObjectKind::Snapshot, ObjectKind::Index, ObjectKind::Pack] {
        if !list_or_none(store, kind)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Two puts of different bytes under one name, then a look: some stores accept the
/// condition and overwrite all the same (design §3a).
fn creates_atomically(store: &dyn Store, surroundings: &Surroundings) -> Result<bool> {
    let name = ObjectName::new(ObjectKind::Lease, crate::id::SessionId(surroundings.random()?));
    store.put(&name, b"first", PutMode::New)?;
    let refused = match store.put(&name, b"second", PutMode::New) {
        Ok(()) => false,
        Err(e) if e.kind == StoreErrorKind::AlreadyExists => true,
        // Any other failure says nothing about the store's ways.
        Err(e) => return Err(e.into()),
    };
    let kept = store.get(&name, 64)?;
    store.remove(&name)?;
    Ok(refused && kept == b"first")
}
