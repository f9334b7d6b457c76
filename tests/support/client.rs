//! One device: a content directory, perhaps a local API, and the real `p2p-fetch`.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::md5;

/// The device; its files go with the value.
pub struct Device {
    directory: tempfile::TempDir,
    /// Name of the content.
    pub md5: String,
    content: Vec<u8>,
}

impl Device {
    /// An empty device that will want this content.
    pub fn new(content: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("content")).unwrap();
        Self { directory, md5: md5(content), content: content.to_vec() }
    }

    /// Where its agent's socket is, if it has one.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("agent.sock")
    }

    /// `<md5>.part`.
    pub fn part(&self) -> PathBuf {
        self.directory.path().join("content").join(format!("{}.part", self.md5))
    }

    /// `<md5>`.
    pub fn whole(&self) -> PathBuf {
        self.directory.path().join("content").join(&self.md5)
    }

    /// The first `len` bytes are there from an earlier run.
    pub fn with_part(self, len: usize) -> Self {
        fs::write(self.part(), &self.content[..len]).unwrap();
        self
    }

    /// Bytes in `<md5>.part`.
    pub fn part_len(&self) -> u64 {
        fs::metadata(self.part()).map(|found| found.len()).unwrap_or(0)
    }

    /// `p2p-fetch` with this device's directories.
    pub fn command(&self, url: &str) -> Command {
        let mut command = self.bare_command();
        command.args([&self.md5, url]);
        command
    }

    /// The same without a content.
    pub fn bare_command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_p2p-fetch"));
        for proxy in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        command.arg("--json").arg("--socket").arg(self.socket());
        command.arg("--content").arg(self.directory.path().join("content"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs to the end.
    pub fn fetch(&self, url: &str) -> Fetched {
        Fetched::from(self.command(url).output().unwrap())
    }

    /// Until the `.part` has so many bytes.
    pub fn await_part(&self, len: u64) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.part_len() < len && !self.whole().exists() {
            assert!(Instant::now() < deadline, "the .part stays at {} of {len} bytes", self.part_len());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// The content is there, is right, and nothing else is.
    #[track_caller]
    pub fn assert_whole(&self) {
        let there = fs::read(self.whole()).unwrap();
        assert!(there == self.content, "the content differs ({} bytes)", there.len());
        assert!(!self.part().exists(), "a .part is left");
    }

    /// Nothing is there under the content's name.
    #[track_caller]
    pub fn assert_nothing(&self) {
        assert!(!self.whole().exists(), "a content is there that should not be");
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Fetched {
    /// Exit code.
    pub code: Option<i32>,
    /// The summary.
    pub out: String,
    /// Progress and errors.
    pub err: String,
}

impl Fetched {
    /// A number of the summary.
    #[track_caller]
    pub fn number(&self, field: &str) -> u64 {
        let value = self.out.split(&format!("\"{field}\":")).nth(1).unwrap_or_else(|| panic!("{field} in {self:?}"));
        value.split([',', '}']).next().unwrap().parse().unwrap()
    }

    /// It ended well.
    #[track_caller]
    pub fn assert_done(&self) {
        assert_eq!(self.code, Some(0), "{self:?}");
    }

    /// It ended with this code and said this.
    #[track_caller]
    pub fn assert_failed(&self, code: i32, sentence: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.err.contains(sentence), "{self:?}");
    }
}

impl From<Output> for Fetched {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A running program that does not outlive its test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
