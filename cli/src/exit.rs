//! Exit codes, restic's where it has them, and [`Failure`]: what ends a command.

use ballast::error::{Error, Malformed, StoreError};

use crate::hint;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// Failed.
    Failed,
    /// The command line cannot be meant.
    Usage,
    /// Done, but with problems, each of them reported.
    Problems,
    /// No repository at that place.
    NoRepository,
    /// The repository is locked.
    Locked,
    /// No key opens with this password.
    WrongPassword,
    /// Ctrl-C, SIGTERM or SIGHUP.
    Interrupted,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Problems => 3,
            Self::NoRepository => 10,
            Self::Locked => 11,
            Self::WrongPassword => 12,
            Self::Interrupted => 130,
        }
    }

    /// Done, or done with problems.
    pub fn with_problems(any: bool) -> Self {
        if any { Self::Problems } else { Self::Done }
    }

    /// For an error of the engine.
    pub fn of(error: &Error) -> Self {
        match error {
            Error::NoRepository { .. } => Self::NoRepository,
            Error::WrongPassword { .. } => Self::WrongPassword,
            Error::Locked { .. } => Self::Locked,
            Error::Usage(_) => Self::Usage,
            Error::Interrupted => Self::Interrupted,
            _ => Self::Failed,
        }
    }
}

/// Why a command ended early: message, cure, exit code.
#[derive(Debug)]
pub struct Failure {
    /// Object and cause.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// How the command ends.
    pub exit: Exit,
    /// It was the repository's store: worth saying where that is.
    pub of_store: bool,
}

impl Failure {
    /// The command line cannot be meant.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(hint.into()), exit: Exit::Usage, of_store: false }
    }

    /// Anything else.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, exit: Exit::Failed, of_store: false }
    }

    /// With another cure than the usual one.
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let of_store = matches!(error, Error::Store(_) | Error::Corrupt { .. });
        Self { message: error.to_string(), hint: hint::cure(&error), exit: Exit::of(&error), of_store }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Error::from(error).into()
    }
}

impl From<Malformed> for Failure {
    fn from(error: Malformed) -> Self {
        Self::failed(error.0)
    }
}
