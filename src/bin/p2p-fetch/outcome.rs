//! The summary: how much came from where, and if not from peers, why (design, section 8).

use std::time::Duration;

use p2p_agent::content::ContentMd5;

/// How much came from where.
#[derive(Default)]
pub struct Outcome {
    /// Nothing was to be done.
    pub already_there: bool,
    /// Size of the content.
    pub size: u64,
    /// Bytes that an earlier run had left.
    pub resumed: u64,
    /// Bytes from peers.
    pub peers: u64,
    /// Bytes from the internet.
    pub internet: u64,
    /// From start to rename.
    pub elapsed: Duration,
    /// Why not from peers; the last reason.
    pub reason: Option<String>,
}

impl Outcome {
    /// For a person.
    pub fn sentence(&self, name: ContentMd5) -> String {
        if self.already_there {
            return format!("{name} is already there ({} bytes)", self.size);
        }
        let resumed = if self.resumed > 0 { format!(", {} bytes were there", self.resumed) } else { String::new() };
        let reason = match &self.reason {
            Some(reason) if self.internet > 0 => format!(" ({reason})"),
            _ => String::new(),
        };
        format!(
            "{name} is there: {} bytes in {:.1} s, {} from peers, {} from the internet{reason}{resumed}",
            self.size,
            self.elapsed.as_secs_f64(),
            self.peers,
            self.internet,
        )
    }

    /// For a program.
    pub fn json(&self, name: ContentMd5) -> String {
        let reason = match &self.reason {
            Some(reason) if self.internet > 0 => json_string(reason),
            _ => "null".into(),
        };
        format!(
            "{{\"md5\":\"{name}\",\"size\":{},\"already_there\":{},\"bytes_resumed\":{},\"bytes_from_peers\":{},\
             \"bytes_from_internet\":{},\"seconds\":{:.3},\"reason\":{reason}}}",
            self.size,
            self.already_there,
            self.resumed,
            self.peers,
            self.internet,
            self.elapsed.as_secs_f64(),
        )
    }
}

fn json_string(text: &str) -> String {
    let mut out = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            control if control.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            plain => out.push(plain),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_cannot_break_the_json() {
        let reason = Some("no agent at /run/\"x\"\n".to_owned());
        let outcome = Outcome { internet: 1, reason, ..Outcome::default() };
        let json = outcome.json(ContentMd5::parse(&"a".repeat(32)).unwrap());
        assert!(json.ends_with(r#""reason":"no agent at /run/\"x\"\u000a"}"#), "{json}");
    }
}
