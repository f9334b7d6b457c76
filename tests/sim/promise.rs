//! What must be true after every event.

use p2p_agent::limits::SLOTS;

use crate::node::{Client, Dice};
use crate::world::{MS, S, Site, World};

impl World {
    pub fn check(&self, node: usize) {
        let device = &self.nodes[node];
        if !device.on {
            return;
        }
        let active = usize::from(device.agent.slots.active());
        if active > SLOTS {
            self.fail("more than twenty slots");
        }
        if device.served != active {
            self.fail(&format!("device {node} counts {active} transfers and has {}", device.served));
        }
        for file in &device.files {
            let asking = matches!(file.client, Client::Asking { .. });
            // A query round may be under way when the time is up.
            if asking && device.busy_until + S < self.now && self.now - file.dry_since > 6 * S + 700 * MS {
                self.fail(&format!("device {node} waits for more than 6 s without bytes"));
            }
        }
    }

    pub fn serial(&mut self) -> u32 {
        self.id += 1;
        self.id as u32
    }

    /// Follows the sources of `node` from a new transfer on; whoever comes back to it has found a cycle.
    pub fn check_cycle(&self, node: usize, content: usize) {
        let mut at = node;
        for _ in 0..=self.nodes.len() {
            let up = self.flows.iter().find(|flow| flow.to == at && flow.content == content && !flow.over);
            match up.and_then(|flow| flow.source) {
                None => return,
                Some(source) => at = source,
            }
        }
        self.fail("devices follow each other in a circle");
    }
}

#[test]
fn a_broken_promise_is_told_with_its_seed_and_what_happened_last() {
    let site = Site {
        uplink: 1.0,
        uplink_from: 0,
        air: 1.0,
        loss: 0.0,
        duplicates: 0.0,
        late: 0.0,
        size_known: true,
        origin: (0, 0),
    };
    let mut world = World::new("some-site", 4711, Dice(1), site, &[1]);
    for last in 0..100 {
        world.note(3, "does something", last, 0);
    }
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.fail("a promise")));
    let told = failed.err().and_then(|told| told.downcast::<String>().ok()).expect("it fails with a text");
    assert!(told.starts_with("a promise"), "{told}");
    assert!(told.contains("P2P_SIM_SCENARIO='some-site' P2P_SIM_SEED=4711"), "{told}");
    assert!(told.contains("node   3 does something 99") && !told.contains("does something 39 "), "{told}");
}
