//! The same site with other tools, as Debian has them and set up as well as we know how: the figures behind the README's comparison.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use super::{limit, once};
use crate::client::Client;
use crate::lab::device::Device;
use crate::lab::process::Process;
use crate::lab::wait_for;
use crate::race::List;
use crate::trial::{Judge, Trial};

/// Every device for itself.
pub(super) fn curl(trial: &mut Trial<'_>) {
    trial.build();
    let list = vec![trial.publish(trial.size)];
    compete(trial, &Curl, list);
}

/// A cache on a device of its own that all others are pointed at. It takes the file in slices, each of them once, and passes on
/// what it has.
pub(super) fn nginx(trial: &mut Trial<'_>) {
    trial.build();
    let cache = trial.add_device();
    let (content, url) = trial.publish(trial.size);
    let (origin, path) = url.split_at(url.rfind('/').unwrap());
    let configuration = cache.path("nginx.conf");
    let text = format!(
        "user root root; daemon off; master_process off; pid {root}/pid; error_log stderr; events {{}}
        http {{ access_log off; client_body_temp_path {root}/b; fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u;
        scgi_temp_path {root}/s; proxy_temp_path {root}/p; proxy_cache_path {root}/cache keys_zone=site:1m use_temp_path=off;
        server {{ listen 80; location / {{ slice 1m; proxy_cache site; proxy_cache_key $uri$slice_range;
        proxy_set_header Range $slice_range; proxy_http_version 1.1; proxy_cache_valid 200 206 1h; proxy_cache_lock on;
        proxy_cache_lock_age 60s; proxy_cache_lock_timeout 60s; proxy_pass {origin}; }} }} }}",
        root = cache.path("").display(),
    );
    fs::write(&configuration, text).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-c").arg(configuration);
    let mut server = cache.run(command);
    wait_for("nginx listens on port 80", Duration::from_secs(5), || {
        assert!(server.ended().is_none(), "nginx ended: {}", server.said());
        cache.namespace.proc_net("tcp").contains(":0050 00000000:0000 0A")
    });
    let list = vec![(content, format!("http://{}{path}", cache.address))];
    compete(trial, &Curl, list);
}

/// BitTorrent with local peer discovery; the origin is the web seed.
pub(super) fn aria2(trial: &mut Trial<'_>) {
    torrent(trial, &ARIA2);
}

/// The same with another client.
pub(super) fn transmission(trial: &mut Trial<'_>) {
    torrent(trial, &TRANSMISSION);
}

fn torrent(trial: &mut Trial<'_>, client: &dyn Client) {
    trial.build();
    let (content, url) = trial.publish(trial.size);
    let directory = tempfile::tempdir().unwrap();
    let (file, torrent) = (directory.path().join(&content.md5), directory.path().join("torrent"));
    fs::write(&file, &content.bytes).unwrap();
    let made = Command::new("mktorrent").args(["-w", &url, "-o"]).arg(&torrent).arg(&file).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    compete(trial, client, vec![(content, torrent.to_str().unwrap().to_owned())]);
}

fn compete(trial: &mut Trial<'_>, client: &dyn Client, list: List) {
    let runners = trial.all_want(&list);
    let judge = Judge { ratio: None, last: None, ..once(trial, trial.size) };
    trial.race_of(client, runners, limit(trial, &judge), &judge, |_| {});
}

struct Curl;

/// A program for torrents, which goes on for others.
struct Torrent {
    /// It, without the torrent.
    command: fn(&Device) -> Command,
    /// Its option for what it is to run when it has everything.
    when_done: &'static str,
}

const ARIA2: Torrent = Torrent { command: aria2c, when_done: "--on-bt-download-complete" };
const TRANSMISSION: Torrent = Torrent { command: transmission_cli, when_done: "--finish" };

impl Client for Curl {
    fn start(&self, device: &Device, list: &List) -> Process {
        let (content, url) = &list[0];
        device.curl(url, &device.content_directory().join(&content.md5))
    }
}

impl Client for Torrent {
    fn start(&self, device: &Device, list: &List) -> Process {
        let mut command = (self.command)(device);
        command.arg(self.when_done).arg(hook(device)).arg(&list[0].1);
        device.run(command)
    }

    fn has_all(&self, device: &Device) -> bool {
        device.path("done").exists()
    }
}

fn aria2c(device: &Device) -> Command {
    let mut command = Command::new("aria2c");
    command.args(["--no-conf", "--quiet", "--bt-enable-lpd=true", "--enable-dht=false", "--disable-ipv6=true"]);
    command.args(["--seed-ratio=0.0", "--file-allocation=none", "--dir"]).arg(device.content_directory());
    command
}

fn transmission_cli(device: &Device) -> Command {
    let settings = device.path("transmission");
    fs::create_dir(&settings).unwrap();
    let text = r#"{"lpd-enabled": true, "dht-enabled": false, "utp-enabled": false, "ratio-limit-enabled": false}"#;
    fs::write(settings.join("settings.json"), text).unwrap();
    let mut command = Command::new("transmission-cli");
    command.arg("--config-dir").arg(settings).arg("--download-dir").arg(device.content_directory());
    command
}

/// A program that says that everything is there.
fn hook(device: &Device) -> std::path::PathBuf {
    let path = device.path("hook");
    fs::write(&path, format!("#!/bin/sh\n: >'{}'\n", device.path("done").display())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}
