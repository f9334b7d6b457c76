//! Who is connected from outside: bounded in all and for each address, and who leaves when there is no seat.
//!
//! ```text
//! Stranger  --proof-->  Known  --take-->  Reader
//! ```
//!
//! A newcomer takes the place of the oldest *stranger* where all seats are taken, so that connections that prove nothing never
//! keep anybody out, however many they are and wherever they come from. Where there is none, somebody who has proved something leaves
//! that asked nothing for longest, and not just now: its connection is only kept for a next time, and it can make a new one.
//! An address that has all of its seats gives up its own oldest one that is no transfer: a device that lost its power does not find
//! itself kept out by the connections of its former life.

use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Instant;

use p2p_agent::limits::{CONNECTIONS_PER_ADDRESS, KEPT_SEAT, QUERY_CONNECTIONS};
use smol::Task;

/// What a connection has shown so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Stranger,
    /// That it knows a content.
    Known,
    /// The same, and it gets bytes: slots have rules of their own.
    Reader,
}

struct Guest {
    number: u64,
    address: Ipv4Addr,
    standing: Standing,
    /// When it showed something the last time.
    shown_at: Instant,
    /// Dropping it ends the connection.
    task: Option<Task<()>>,
}

/// Everybody who is connected, the oldest first.
#[derive(Default)]
pub struct Guests {
    guests: RefCell<heapless::Vec<Guest, QUERY_CONNECTIONS>>,
    arrived: Cell<u64>,
}

impl Guests {
    /// A seat for a new connection. The second value tells that another connection was ended for it; `None` that nobody had to
    /// leave and there is no seat.
    pub fn admit(self: &Rc<Self>, now: Instant, address: Ipv4Addr) -> Option<(Seat, bool)> {
        let mut guests = self.guests.borrow_mut();
        let own = guests.iter().filter(|guest| guest.address == address).count();
        let leaves = if own >= CONNECTIONS_PER_ADDRESS {
            guests.iter().position(|guest| guest.address == address && guest.standing != Standing::Reader)
        } else if guests.is_full() {
            let stranger = guests.iter().position(|guest| guest.standing == Standing::Stranger);
            stranger.or_else(|| {
                let known = guests.iter().enumerate().filter(|(_, guest)| guest.standing == Standing::Known);
                let idle = known.filter(|(_, guest)| now.saturating_duration_since(guest.shown_at) >= KEPT_SEAT);
                idle.min_by_key(|(_, guest)| guest.shown_at).map(|(place, _)| place)
            })
        } else {
            None
        };
        // In this order they stay sorted by age.
        let left = leaves.map(|place| guests.remove(place));
        let has_room = left.is_some() || own < CONNECTIONS_PER_ADDRESS;
        let number = self.arrived.get();
        let guest = Guest { number, address, standing: Standing::Stranger, shown_at: now, task: None };
        let seated = has_room && guests.push(guest).is_ok();
        drop(guests);
        self.arrived.set(number.wrapping_add(1));
        seated.then(|| (Seat { guests: self.clone(), number }, left.is_some()))
    }

    /// Strangers among the guests.
    #[cfg(test)]
    fn strangers(&self) -> usize {
        self.guests.borrow().iter().filter(|guest| guest.standing == Standing::Stranger).count()
    }

    /// Hands over the task of a seat, so that it can be ended for somebody else.
    pub fn handle_task(&self, number: u64, task: Task<()>) {
        match self.guests.borrow_mut().iter_mut().find(|guest| guest.number == number) {
            Some(guest) => guest.task = Some(task),
            // It is over already.
            None => task.detach(),
        }
    }
}

/// A place among the guests, held by the connection's own task.
pub struct Seat {
    guests: Rc<Guests>,
    /// For [`Guests::handle_task`].
    pub number: u64,
}

impl Seat {
    /// The connection has shown this.
    pub fn handle_standing(&self, now: Instant, standing: Standing) {
        let mut guests = self.guests.guests.borrow_mut();
        let own = guests.iter_mut().filter(|guest| guest.number == self.number);
        own.for_each(|guest| (guest.standing, guest.shown_at) = (standing, now));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut guests = self.guests.guests.borrow_mut();
        let place = guests.iter().position(|guest| guest.number == self.number);
        let left = place.map(|place| guests.remove(place));
        drop(guests);
        // The task drops this itself; it has no need to be ended.
        if let Some(task) = left.and_then(|guest| guest.task) {
            task.detach();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    thread_local!(static START: Instant = Instant::now());

    fn now() -> Instant {
        START.with(|start| *start)
    }

    fn address(number: usize) -> Ipv4Addr {
        Ipv4Addr::from(0x0a00_0000 + u32::try_from(number).expect("small"))
    }

    /// A full house, one seat for each address; the first `known` have proved something.
    fn full(known: usize) -> (Rc<Guests>, Vec<Seat>) {
        let guests: Rc<Guests> = Rc::default();
        let seats: Vec<_> = (0..QUERY_CONNECTIONS).map(|n| guests.admit(now(), address(n)).expect("room").0).collect();
        seats.iter().take(known).for_each(|seat| seat.handle_standing(now(), Standing::Known));
        (guests, seats)
    }

    fn has(guests: &Guests, seat: &Seat) -> bool {
        guests.guests.borrow().iter().any(|guest| guest.number == seat.number)
    }

    #[test]
    fn in_a_full_house_the_oldest_stranger_makes_room() {
        let (guests, seats) = full(3);
        let (_newcomer, displaced) = guests.admit(now(), address(900)).expect("a stranger leaves");
        assert!(displaced && !has(&guests, &seats[3]) && has(&guests, &seats[2]) && has(&guests, &seats[4]));
        assert_eq!(guests.guests.borrow().len(), QUERY_CONNECTIONS);
    }

    #[test]
    fn who_has_proved_something_leaves_for_a_stranger_only_when_it_asks_nothing_any_more() {
        let (guests, seats) = full(QUERY_CONNECTIONS);
        seats[0].handle_standing(now(), Standing::Reader);
        assert!(guests.admit(now(), address(900)).is_none());
        assert_eq!((guests.strangers(), guests.guests.borrow().len()), (0, QUERY_CONNECTIONS));
        let later = now() + KEPT_SEAT;
        seats[1].handle_standing(later, Standing::Known);
        let (_newcomer, displaced) =
            guests.admit(later, address(900)).expect("the one that is idle for longest leaves");
        assert!(displaced && has(&guests, &seats[0]) && has(&guests, &seats[1]) && !has(&guests, &seats[2]));
    }

    #[test]
    fn an_address_with_all_its_seats_gives_up_its_own_oldest_that_is_no_transfer() {
        let guests: Rc<Guests> = Rc::default();
        let other = guests.admit(now(), address(2)).expect("room").0;
        let own: Vec<_> =
            (0..CONNECTIONS_PER_ADDRESS).map(|_| guests.admit(now(), address(1)).expect("room").0).collect();
        own[0].handle_standing(now(), Standing::Reader);
        let (newcomer, displaced) = guests.admit(now(), address(1)).expect("its own makes room");
        assert!(displaced && has(&guests, &own[0]) && !has(&guests, &own[1]) && has(&guests, &other));
        own[2..].iter().chain([&newcomer]).for_each(|seat| seat.handle_standing(now(), Standing::Reader));
        assert!(guests.admit(now(), address(1)).is_none(), "all of them are transfers");
        drop(own);
        drop(newcomer);
        assert_eq!(guests.guests.borrow().len(), 1);
    }

    #[test]
    fn a_displaced_connection_is_ended_and_one_that_ends_by_itself_leaves_its_seat() {
        let executor = smol::LocalExecutor::new();
        let guests: Rc<Guests> = Rc::default();
        let over = Rc::new(Cell::new(0));
        struct Ends(Rc<Cell<usize>>);
        impl Drop for Ends {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let sit = |n| {
            let (seat, _) = guests.admit(now(), address(n)).expect("a seat");
            let (number, ends) = (seat.number, Ends(over.clone()));
            let task = executor.spawn(async move {
                if n > 0 {
                    std::future::pending::<()>().await;
                }
                drop((seat, ends));
            });
            guests.handle_task(number, task);
        };
        (1..=QUERY_CONNECTIONS + 5).for_each(sit);
        while executor.try_tick() {}
        assert_eq!((over.get(), guests.guests.borrow().len()), (5, QUERY_CONNECTIONS));
        sit(0);
        while executor.try_tick() {}
        assert_eq!((over.get(), guests.guests.borrow().len()), (7, QUERY_CONNECTIONS - 1));
    }
}
