//! Things in the content directory that are no content, and content that does not keep still: what peers get of them.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::attacker::Attacker;
use crate::floods::assert_shared;
use crate::lab;
use crate::lab::device::Device;
use crate::lab::origin::Content;
use crate::lab::peer::Asker;

/// What a member gets: all of the content, or a status.
fn ask(attacker: &Attacker, device: &Device, content: &Content, nonce: u8) -> Result<Vec<u8>, u16> {
    attacker.namespace.enter(|| {
        let mut asker = Asker::connect(device.address, content, nonce).unwrap();
        asker.query().unwrap()?;
        let opener = asker.take(0).unwrap()?;
        Ok(asker.receive(opener).unwrap())
    })
}

#[test]
fn nothing_but_regular_files_of_the_content_directory_is_ever_served() {
    lab::run(nothing_but_regular_files_of_the_content_directory_is_ever_served, |site| {
        let secrets: Vec<_> = (0..9).map(|seed| Content::random(50 + seed, 1_000)).collect();
        let mut device = site.device(0);
        let part = device.part(&secrets[0]);
        let directory = part.parent().unwrap();
        let outside = directory.parent().unwrap().join("outside");
        fs::create_dir(&outside).unwrap();
        for (number, secret) in secrets.iter().enumerate() {
            fs::write(outside.join(number.to_string()), &secret.bytes).unwrap();
        }
        let name = |number: usize| directory.join(&secrets[number].md5);
        symlink(outside.join("0"), name(0)).unwrap();
        symlink("../outside/1", format!("{}.part", name(1).display())).unwrap();
        mkfifo(&name(2), Mode::from_bits_truncate(0o644)).unwrap();
        fs::create_dir(name(3)).unwrap();
        fs::copy(outside.join("3"), name(3).join(&secrets[3].md5)).unwrap();
        symlink(&outside, directory.join("link")).unwrap();
        symlink("/proc/self/root", directory.join("root")).unwrap();
        let listed = ["../outside/4", "link/5", "a/../../outside/6"];
        let lines = listed.iter().zip(&secrets[4..]).map(|(path, secret)| format!("{}  {path}\n", secret.md5));
        let root = format!("{}  root{}\n", secrets[7].md5, outside.join("7").display());
        let absolute = format!("{}  {}\n", secrets[8].md5, outside.join("8").display());
        fs::write(directory.join("MD5SUMS"), lines.chain([root, absolute]).collect::<String>()).unwrap();
        device.start();
        let honest = Content::random(60, 100_000);
        device.hold(&honest);

        let attacker = Attacker::plug_in(site, 1, 100);
        for (number, secret) in secrets.iter().enumerate() {
            assert_eq!(ask(&attacker, &device, secret, number as u8 + 1).err(), Some(404), "number {number}");
        }
        assert!(ask(&attacker, &device, &honest, 99).is_ok_and(|bytes| bytes == honest.bytes));
    });
}

#[test]
fn a_file_that_shrinks_or_changes_while_it_is_served_has_no_last_record() {
    lab::run(a_file_that_shrinks_or_changes_while_it_is_served_has_no_last_record, |site| {
        let device = site.agents(1).pop().unwrap();
        let attacker = Attacker::plug_in(site, 1, 100);
        let changes: [fn(&File); 3] = [
            |file| file.set_len(3 << 20).unwrap(),
            |file| std::os::unix::fs::FileExt::write_all_at(file, b"other", 7 << 20).unwrap(),
            |file| file.set_len(0).unwrap(),
        ];
        for (number, change) in changes.iter().enumerate() {
            // More than the buffers between the two take.
            let content = Content::random(70 + number as u8, 8 << 20);
            device.hold(&content);
            attacker.namespace.enter(|| {
                let mut asker = Asker::connect(device.address, &content, number as u8).unwrap();
                asker.query().unwrap().unwrap();
                let opener = asker.take(0).unwrap().unwrap();
                let path = device.part(&content).with_extension("");
                change(&File::options().write(true).open(path).unwrap());
                let received = asker.receive(opener);
                assert!(received.is_err(), "change {number}: it ended as if it were whole");
            });
        }
        // Whoever holds something is served as before.
        let content = Content::random(80, 1 << 20);
        let url = site.origin.publish(&content);
        device.hold(&content);
        let mut wanting = site.device(5);
        wanting.start();
        wanting.wait_for_peer(device.address);
        assert_shared(site, &wanting, &content, &url);
        lab::wait_for("no transfer is left", Duration::from_secs(10), || device.metric("p2p_transfers_active") == 0);
    });
}
