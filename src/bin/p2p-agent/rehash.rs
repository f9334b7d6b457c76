//! Hashing a complete file that somebody blamed ([`p2p_agent::blame`]): on the one thread, in small steps with pauses, as if it were not there.

use std::rc::Rc;

use async_io::Timer;
use log::{debug, warn};
use md5::{Digest, Md5};
use p2p_agent::content::{ContentMd5, PublicId};
use p2p_agent::limits::{READ_CHUNK_BYTES, REHASH_BREATH};

use crate::clock;
use crate::device::Device;
use crate::store::{Kind, Opened};
use crate::tally::add;

/// Begins with what is due, if anything is.
pub fn poll(device: &Rc<Device>) {
    let Some(id) = device.agent.borrow_mut().poll_rehash(clock::now()) else { return };
    let device = device.clone();
    device.executor.clone().spawn(async move { rehash(&device, id).await }).detach();
}

async fn rehash(device: &Device, id: PublicId) {
    let _over = Over(device);
    let Some((md5, _)) = device.find(&id) else { return };
    let Ok(Some(mut file)) = device.store.open_content(&md5) else { return };
    if file.kind() != Kind::Complete {
        return;
    }
    match is_right(&mut file, &md5).await {
        Some(true) => debug!("a file that was blamed is what its name says"),
        Some(false) => {
            add(&device.tally.corrupt_contents, 1);
            device.store.refuse(&file);
            // The MD5 is what lets a device take part: it stays out of the log.
            warn!(
                "{}: the file in the content directory (or the one that MD5SUMS lists so) does not match its MD5; it is not offered \
                 until it changes",
                id.short()
            );
        }
        None => debug!("a file that was blamed changed or could not be read"),
    }
}

/// None: it could not be read to its end, or changed.
async fn is_right(file: &mut Opened, md5: &ContentMd5) -> Option<bool> {
    let mut hash = Md5::new();
    let mut buffer = vec![0; READ_CHUNK_BYTES];
    let mut offset = 0;
    loop {
        let extent = file.available().ok()?;
        if offset >= extent.available {
            return Some(hash.finalize()[..] == md5.as_bytes()[..]);
        }
        let count = file.read_at(offset, &mut buffer).await.ok().filter(|count| *count > 0)?;
        hash.update(buffer.get(..count)?);
        offset += count as u64;
        Timer::after(REHASH_BREATH).await;
    }
}

struct Over<'a>(&'a Device);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.agent.borrow_mut().handle_rehashed();
    }
}
