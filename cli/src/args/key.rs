//! Arguments of `key`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

const LIST: &str = "\
Example:
  ballast key list

Exit codes: 0 done; 3 done, but a key file is damaged; 1 failed;
10 no repository; 12 wrong password.";

const ADD: &str = "\
Examples:
  ballast key add --label laptop
  ballast key add --new-password-file /root/second --label nightly

Every key opens the whole repository.

Exit codes: 0 done, 1 failed, 2 usage, 10 no repository, 12 wrong password.";

const REMOVE: &str = "\
Examples:
  ballast key remove 4f1c

The last key is never removed. Who kept a copy of the key file and knows its
password can still read what he gets hold of.

Exit codes: 0 done, 1 failed, 2 usage, 10 no repository, 12 wrong password.";

const PASSWD: &str = "\
Example:
  ballast key passwd

First a key with the new password is added and read back, then the old one is
removed. Pages printed of the old key no longer fit: print the new one.

Exit codes: 0 done, 1 failed, 2 usage, 10 no repository, 12 wrong password.";

const EXPORT: &str = "\
Examples:
  ballast key export | lp
  ballast key export --output key-page.txt

The page is still under its password: neither opens anything alone.

Exit codes: 0 done, 1 failed, 10 no repository, 12 wrong password.";

const IMPORT: &str = "\
Examples:
  ballast -r /mnt/usb/vault key import key-page.txt
  ballast -r /mnt/usb/vault key import -          from standard input

A misread character is found in its own line. No password is needed for this.

Exit codes: 0 done, 1 failed, 2 usage, 10 no repository.";

/// Where a new password comes from, if nobody is to be asked.
#[derive(Debug, Clone, Default, Args)]
pub struct NewPassword {
    /// Take the new password from this file
    ///
    /// [env: BALLAST_NEW_PASSWORD_FILE; the password itself: BALLAST_NEW_PASSWORD]
    #[arg(long, value_name = "FILE", conflicts_with = "new_password_command")]
    pub new_password_file: Option<PathBuf>,

    /// Take what this prints as the new password; it is run in a shell
    ///
    /// [env: BALLAST_NEW_PASSWORD_COMMAND]
    #[arg(long, value_name = "COMMAND")]
    pub new_password_command: Option<String>,
}

/// Verbs of `key`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// List the keys
    #[command(after_help = LIST)]
    List,

    /// Add a key: one more password that opens the repository
    #[command(after_help = ADD)]
    Add {
        /// Label, to tell keys apart
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        label: String,
        #[command(flatten)]
        new: NewPassword,
    },

    /// Remove a key; never the last one
    #[command(after_help = REMOVE)]
    Remove {
        /// The beginning of its id, as `key list` shows it
        id: String,
    },

    /// Change the password of the key in use
    #[command(after_help = PASSWD)]
    Passwd {
        #[command(flatten)]
        new: NewPassword,
    },

    /// Write a key as one page of text, to be printed
    #[command(after_help = EXPORT)]
    Export(ExportArgs),

    /// Bring a key back from its page
    #[command(after_help = IMPORT)]
    Import(ImportArgs),
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The beginning of its id; otherwise the key in use
    pub id: Option<String>,

    /// Write to this new file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// File with the page; `-` for standard input
    pub page: PathBuf,
}
