//! Why a fetch ended without the file: one sentence for a person, one exit code (sysexits.h) for a script.

use std::fmt;

/// What kind of failure; the number is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// EX_USAGE: the command line is wrong.
    Usage = 64,
    /// EX_DATAERR: the internet itself delivers something that does not match.
    Wrong = 65,
    /// EX_UNAVAILABLE: neither peers nor the internet could deliver it.
    Unreachable = 69,
    /// EX_CANTCREAT: the content directory or its disk does not take the file.
    CannotCreate = 73,
    /// EX_IOERR: reading or writing failed on the way.
    Disk = 74,
    /// EX_TEMPFAIL: another instance is at it.
    Busy = 75,
}

/// A failure with its sentence: what happened, to what, and what to do.
#[derive(Clone, Debug)]
pub struct Failure {
    kind: Kind,
    sentence: String,
}

impl Failure {
    /// A failure of that kind.
    pub fn new(kind: Kind, sentence: impl Into<String>) -> Self {
        Self { kind, sentence: sentence.into() }
    }

    /// The exit code of the program.
    pub const fn exit_code(&self) -> u8 {
        self.kind as u8
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}
