//! The fields of one head, and the two that say how its message is framed.

use super::Refusal;
use crate::limits::HEADER_FIELDS;

/// Fields that may stand only once: those that two readers could take from different lines. All of our own do.
const SINGLE: [&str; 10] = [
    "content-length",
    "content-range",
    "content-type",
    "expect",
    "host",
    "location",
    "range",
    "retry-after",
    "transfer-encoding",
    "upgrade",
];
const OUR_PREFIX: &str = "p2p-";

/// Names and values in the order in which they came.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    list: heapless::Vec<(&'a str, &'a str), HEADER_FIELDS>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(raw: &[httparse::Header<'a>]) -> Result<Self, Refusal> {
        let mut fields = Self { list: heapless::Vec::new() };
        for field in raw {
            let value = core::str::from_utf8(field.value).map_err(|_| Refusal::Malformed)?;
            if is_single(field.name) && fields.has(field.name) {
                return Err(Refusal::Malformed);
            }
            fields.list.push((field.name, value.trim_matches([' ', '\t']))).map_err(|_| Refusal::TooLarge)?;
        }
        Ok(fields)
    }

    /// Value of the first field of this name, in any case.
    pub fn first(&self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// RFC 9112 section 6.2: digits only, and not in two ways.
    pub(super) fn content_length(&self) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.first("content-length") else { return Ok(None) };
        decimal(value).map(Some).ok_or(Refusal::Malformed)
    }

    /// RFC 9112 section 9.6: `close` anywhere in any `Connection`.
    pub(super) fn asks_to_close(&self) -> bool {
        self.all("connection")
            .flat_map(|value| value.split(','))
            .any(|option| option.trim().eq_ignore_ascii_case("close"))
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.list.iter().filter(move |(own, _)| own.eq_ignore_ascii_case(name)).map(|&(_, value)| value)
    }
}

fn is_single(name: &str) -> bool {
    SINGLE.iter().any(|single| single.eq_ignore_ascii_case(name))
        || name.get(..OUR_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(OUR_PREFIX))
}

/// A number of digits alone: no sign, no space, no more than fits.
pub fn decimal(text: &str) -> Option<u64> {
    if text.bytes().all(|digit| digit.is_ascii_digit()) { text.parse().ok() } else { None }
}
