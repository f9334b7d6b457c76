//! Bytes as fluids: every transfer gets its max-min fair share of the resources it crosses (up links, down links, the
//! uplink, disks, the air of a Wi-Fi cell), which is what long TCP transfers settle at.

/// Resources that one transfer crosses at most.
const CROSSED: usize = 6;

/// One transfer as the allocation sees it.
#[derive(Clone, Copy, Default)]
pub struct Demand {
    crossed: [(usize, f64); CROSSED],
    count: usize,
    /// It needs no more than this.
    pub limit: f64,
    /// What it gets.
    pub rate: f64,
    settled: bool,
}

impl Demand {
    pub fn new(limit: f64) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Crosses `resource`; a station that sends to another one of its cell uses the air twice.
    pub fn cross(&mut self, resource: usize) {
        if let Some(known) = self.crossed[..self.count].iter_mut().find(|(known, _)| *known == resource) {
            known.1 += 1.0;
        } else {
            self.crossed[self.count] = (resource, 1.0);
            self.count += 1;
        }
    }

    fn crossed(&self) -> &[(usize, f64)] {
        &self.crossed[..self.count]
    }
}

/// Sets every rate: progressive filling, with the demands as further bounds.
pub fn share(demands: &mut [Demand], capacity: &[f64]) {
    let mut left = capacity.to_vec();
    let mut weight = vec![0.0; capacity.len()];
    for demand in demands.iter_mut() {
        (demand.rate, demand.settled) = (0.0, demand.limit <= 0.0);
        if !demand.settled {
            demand.crossed[..demand.count].iter().for_each(|(at, times)| weight[*at] += times);
        }
    }
    loop {
        let level = (0..left.len()).filter(|at| weight[*at] > 1e-9).map(|at| left[at].max(0.0) / weight[at]);
        let level = level.fold(f64::INFINITY, f64::min);
        if level.is_infinite() {
            return;
        }
        let mut modest = false;
        for demand in demands.iter_mut().filter(|demand| !demand.settled && demand.limit <= level) {
            modest = true;
            settle(demand, demand.limit, &mut left, &mut weight);
        }
        if modest {
            continue;
        }
        let full: Vec<bool> = (0..left.len())
            .map(|at| weight[at] > 1e-9 && left[at].max(0.0) / weight[at] <= level * 1.000_001)
            .collect();
        for demand in demands.iter_mut().filter(|demand| !demand.settled) {
            if demand.crossed().iter().any(|(at, _)| full[*at]) {
                settle(demand, level, &mut left, &mut weight);
            }
        }
    }
}

fn settle(demand: &mut Demand, rate: f64, left: &mut [f64], weight: &mut [f64]) {
    (demand.rate, demand.settled) = (rate, true);
    for (at, times) in demand.crossed[..demand.count].iter() {
        left[*at] -= rate * times;
        weight[*at] -= times;
    }
}

#[test]
fn a_share_is_fair_and_leaves_nothing_that_somebody_could_use() {
    let mut demands = [Demand::new(100.0), Demand::new(100.0), Demand::new(1.0), Demand::new(100.0)];
    demands[..3].iter_mut().for_each(|demand| demand.cross(0));
    demands[1].cross(1);
    demands[3].cross(1);
    share(&mut demands, &[11.0, 4.0]);
    let rates = demands.map(|demand| demand.rate);
    assert_eq!(rates, [8.0, 2.0, 1.0, 2.0]);
}

#[test]
fn a_station_that_feeds_its_own_cell_pays_the_air_twice() {
    let mut demand = Demand::new(100.0);
    demand.cross(0);
    demand.cross(0);
    let mut demands = [demand];
    share(&mut demands, &[10.0]);
    assert_eq!(demands[0].rate, 5.0);
}
