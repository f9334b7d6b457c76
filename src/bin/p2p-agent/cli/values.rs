//! The values of options: words into what they mean, mistakes into one sentence that names the option.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

/// A mistake that the parser found, as a sentence.
pub fn sentence(error: lexopt::Error) -> String {
    format!("{error}. See p2p-agent --help.")
}

fn value(parser: &mut lexopt::Parser) -> Result<OsString, String> {
    parser.value().map_err(sentence)
}

/// The value of an option, as a path.
pub fn path(parser: &mut lexopt::Parser, flag: &str) -> Result<PathBuf, String> {
    let path = value(parser)?;
    if path.is_empty() { Err(format!("{flag} takes a path, not nothing.")) } else { Ok(path.into()) }
}

/// Does a value follow, and not the next option or the end?
pub fn has_value(parser: &mut lexopt::Parser) -> bool {
    let next = parser.try_raw_args().map(|rest| rest.peek().map(|next| next.to_string_lossy().starts_with('-')));
    // None: the value is part of the argument, as in --jail=on.
    next.is_none_or(|next| next == Some(false))
}

/// The value of an option, as text.
pub fn text(parser: &mut lexopt::Parser, flag: &str) -> Result<String, String> {
    value(parser)?.into_string().map_err(|_| format!("{flag} takes text in UTF-8."))
}

/// One of a few words.
pub fn choice<T: Copy>(parser: &mut lexopt::Parser, flag: &str, names: &[(&str, T)]) -> Result<T, String> {
    let text = text(parser, flag)?;
    let found = names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let known: Vec<_> = names.iter().map(|(name, _)| *name).collect();
        format!("{flag} takes one of {}, not \"{text}\".", known.join(", "))
    })
}

/// An address of this machine alone.
pub fn loopback(text: &str) -> Result<Ipv4Addr, String> {
    match text.parse::<Ipv4Addr>() {
        Ok(address) if address.is_loopback() => Ok(address),
        _ => Err(format!(
            "--address takes an address of this machine alone, 127.0.0.1 to 127.255.255.254, not \"{text}\"; for a network use --interface."
        )),
    }
}

/// A port that can be bound.
pub fn port(text: &str) -> Result<u16, String> {
    text.parse().ok().filter(|port| *port != 0).ok_or_else(|| format!("--port takes 1 to 65535, not \"{text}\"."))
}

/// A number of seconds up to an hour.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (1..=3_600).contains(seconds));
    let seconds = seconds.ok_or_else(|| format!("--interval takes 1 to 3600 seconds, not \"{text}\"."))?;
    Ok(Duration::from_secs(seconds))
}

/// Bytes per second of `20Mbit`, `800kbit`, `2.5MB` or `1MiB`.
pub fn rate(text: &str) -> Result<u64, String> {
    // In whole numbers: what the standard library needs to read any fraction is larger than the rest of this file.
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let factor = match unit.to_ascii_lowercase().as_str() {
        "kbit" => 125,
        "mbit" => 125_000,
        "gbit" => 125_000_000,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => 1_024,
        "mib" => 1_048_576,
        _ => 0,
    };
    let bytes = || {
        let parts = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let fraction = fraction.parse::<u64>().ok()?.checked_mul(factor)? / parts;
        whole.parse::<u64>().ok()?.checked_mul(factor)?.checked_add(fraction)
    };
    // Below this no record passes within a reader's patience.
    bytes()
        .filter(|bytes| (16_384..1_000_000_000_000).contains(bytes))
        .ok_or_else(|| format!("--max-upload takes a rate like 20Mbit or 2.5MB, at least 132kbit, not \"{text}\"."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_people_write_them() {
        assert_eq!(rate("20Mbit"), Ok(2_500_000));
        assert_eq!(rate("2.5MB"), Ok(2_500_000));
        assert_eq!(rate("1MiB"), Ok(1_048_576));
        assert_eq!(rate("0.125Gbit"), Ok(15_625_000));
        for bad in [
            "",
            "5",
            "fast",
            "-1MB",
            "1kbit",
            "1e9MB",
            "..MB",
            ".5MB",
            "1.MB",
            "1.0.0MB",
            "9999999999999999999MB",
            "0.00000000000000000000001GB",
        ] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
