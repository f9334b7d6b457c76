//! Why bytes come from the internet: for the client, for people and for the counters.

/// Why the bytes come from the internet and not from peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No peer is known.
    NoPeers,
    /// Peers are there, none has or wants it.
    NobodyHasIt,
    /// This device fetches it for the site.
    Elected,
    /// Every source is at its 20 transfers.
    AllBusy,
    /// The sources or the fetcher stopped moving.
    Stalled,
    /// Records were altered on the way.
    MacFailed,
    /// The whole did not have its MD5.
    Md5Failed,
    /// Peers did not answer in time.
    Timeout,
    /// P2P is switched off.
    Disabled,
}

impl Reason {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 9] = [
        Self::NoPeers,
        Self::NobodyHasIt,
        Self::Elected,
        Self::AllBusy,
        Self::Stalled,
        Self::MacFailed,
        Self::Md5Failed,
        Self::Timeout,
        Self::Disabled,
    ];

    /// The word in `P2P-Reason` and in the counters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoPeers => "no-peers",
            Self::NobodyHasIt => "nobody-has-it",
            Self::Elected => "elected",
            Self::AllBusy => "all-busy",
            Self::Stalled => "stalled",
            Self::MacFailed => "mac-failed",
            Self::Md5Failed => "md5-failed",
            Self::Timeout => "timeout",
            Self::Disabled => "disabled",
        }
    }

    /// One sentence for a person.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NoPeers => "No other device of this site answers.",
            Self::NobodyHasIt => "Other devices are there, but none of them has this content.",
            Self::Elected => "This device fetches the content for the whole site.",
            Self::AllBusy => "Every device that has the content is serving as many others as it can.",
            Self::Stalled => "The devices that have the content stopped sending it.",
            Self::MacFailed => "What other devices sent was altered on the way and has been dropped.",
            Self::Md5Failed => "What other devices sent was not the content that its name promises.",
            Self::Timeout => "Other devices did not answer in time.",
            Self::Disabled => "P2P is switched off on this device.",
        }
    }
}
