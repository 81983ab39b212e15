//! The key hierarchy (design §6; `docs/format.md`, "Keys").
//!
//! ```text
//! password ─Argon2id→ wrapping key ─opens→ key file body: master secret of each epoch, config
//! master secret ─derive_key→ one sealing key for each purpose
//! config: cut secret → Gear table      id secret → one id key for each blob kind
//! ```

use zeroize::Zeroize;

use crate::crypto::aead::SealKey;
use crate::error::Malformed;

/// What a sealing key is for; a key is never used for two purposes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Frames in packs.
    Frame,
    /// Trailers and footers of packs.
    Trailer,
    /// Index objects.
    Index,
    /// Snapshots.
    Snapshot,
    /// Ledger entries.
    Ledger,
    /// Leases.
    Lease,
    /// The config.
    Config,
    /// Labels in key files.
    Label,
    /// Bases and decoded data kept on this machine.
    LocalCache,
}

impl Purpose {
    const ALL: [Self; 9] = [
        Self::Frame,
        Self::Trailer,
        Self::Index,
        Self::Snapshot,
        Self::Ledger,
        Self::Lease,
        Self::Config,
        Self::Label,
        Self::LocalCache,
    ];

    fn context(self) -> &'static str {
        match self {
            Self::Frame => "ballast v1 seal frame",
            Self::Trailer => "ballast v1 seal trailer",
            Self::Index => "ballast v1 seal index",
            Self::Snapshot => "ballast v1 seal snapshot",
            Self::Ledger => "ballast v1 seal ledger",
            Self::Lease => "ballast v1 seal lease",
            Self::Config => "ballast v1 seal config",
            Self::Label => "ballast v1 seal label",
            Self::LocalCache => "ballast v1 seal local cache",
        }
    }
}

struct Epoch {
    number: u16,
    secret: [u8; 32],
    seal: [SealKey; Purpose::ALL.len()],
}

impl Drop for Epoch {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// All sealing keys of a repository.
pub struct Keyring(Vec<Epoch>);

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keyring({} epochs)", self.0.len())
    }
}

impl Keyring {
    /// From epochs and master secrets; the last is the one new objects are sealed under.
    pub fn derive(secrets: &[(u16, [u8; 32])]) -> Result<Self, Malformed> {
        if secrets.is_empty() || secrets.len() > crate::format::keyfile::MAX_EPOCHS {
            return Err(Malformed::new(format!("holds {} epochs", secrets.len())));
        }
        if secrets.windows(2).any(|w| w[0].0 >= w[1].0) {
            return Err(Malformed::new("epochs are not in order"));
        }
        let epoch = |(number, secret): &(u16, [u8; 32])| Epoch {
            number: *number,
            secret: *secret,
            seal: Purpose::ALL.map(|p| {
                let mut key = blake3::derive_key(p.context(), secret);
                let seal = SealKey::new(&key);
                key.zeroize();
                seal
            }),
        };
        Ok(Self(secrets.iter().map(epoch).collect()))
    }

    /// The epoch of new objects.
    pub fn current_epoch(&self) -> u16 {
        self.0.last().map_or(0, |e| e.number)
    }

    /// The key for `purpose` under `epoch`.
    pub fn key(&self, purpose: Purpose, epoch: u16) -> Result<&SealKey, Malformed> {
        self.0.iter().find(|e| e.number == epoch).map(|e| &e.seal[purpose as usize]).ok_or_else(|| {
            Malformed::new(format!("is sealed under key epoch {epoch}, which this key file lacks"))
        })
    }

    /// The key for new objects.
    pub fn current(&self, purpose: Purpose) -> &SealKey {
        &self.0.last().expect("because derive refuses none").seal[purpose as usize]
    }

    /// Epochs and secrets, for another key file.
    pub fn secrets(&self) -> Vec<(u16, [u8; 32])> {
        self.0.iter().map(|e| (e.number, e.secret)).collect()
    }
}
