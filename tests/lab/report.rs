//! The table, the JSON, and the verdict.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::lab;
use crate::options::Options;
use crate::scenarios::Scenario;

/// A run that takes longer hangs.
const RUN_TIMEOUT: Duration = Duration::from_secs(1_800);

/// Figures of some scenarios only.
const EXTRA: [&str; 8] = [
    "rest_last",
    "most_by_one",
    "like_curl",
    "bad_device_seconds",
    "metered_mib",
    "uplink_error",
    "inwards_error",
    "outwards_error",
];

/// All that was found out.
pub struct Report {
    rows: Vec<Row>,
}

struct Row {
    name: &'static str,
    devices: u8,
    measures: Vec<Measure>,
    runs: Vec<String>,
    failures: Vec<String>,
}

struct Measure {
    name: String,
    values: Vec<f64>,
    most: Option<f64>,
}

impl Report {
    /// Prints the head of the table.
    pub fn new() -> Self {
        println!("load {} before", load());
        println!(
            "{:<16} {:>3} {:>4} {:>7} {:>7} {:>7} {:>7} {:>9} {:>7} {:>6} {:>6} {:>5} {:>6}  bounds",
            "scenario",
            "N",
            "runs",
            "ratio",
            "last",
            "median",
            "last s",
            "peers MiB",
            "CPU s",
            "s/GB",
            "RSS",
            "idle",
            "stolen"
        );
        Self { rows: Vec::new() }
    }

    /// Runs a scenario as often as is wanted, and prints its row.
    pub fn run(&mut self, scenario: &Scenario, options: &Options) {
        let Ok(way) = lab::way_in() else { return };
        let devices = options.devices.unwrap_or(scenario.devices);
        let mut row =
            Row { name: scenario.name, devices, measures: Vec::new(), runs: Vec::new(), failures: Vec::new() };
        for run in 0..options.runs {
            let seed = options.seed.wrapping_add(run as u8).to_string();
            let mut arguments = vec!["--inside".to_owned(), scenario.name.into(), "--seed".into(), seed];
            for (flag, value) in [
                ("--devices", options.devices.map(usize::from)),
                ("--size", options.size.map(|size| size >> 20)),
                ("--slower", Some(options.slower as usize)),
            ] {
                arguments.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value.to_string()]));
            }
            if options.verbose {
                arguments.push("--verbose".into());
            }
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let (status, said) = lab::isolated(way, &arguments, RUN_TIMEOUT);
            if !status.is_some_and(|status| status.success()) {
                row.failures.push(format!("the run ended with {status:?}"));
                println!("{said}");
            }
            said.lines().for_each(|line| row.read(line, options.verbose));
        }
        row.print();
        self.rows.push(row);
    }

    /// Writes the JSON; whether all is well.
    pub fn finish(&self, options: &Options) -> ExitCode {
        let default = || {
            let own = std::env::current_exe().ok()?;
            Some(own.ancestors().nth(3)?.join("lab.json"))
        };
        if let Some(path) = options.json.clone().or_else(default) {
            let path: PathBuf = path;
            match std::fs::write(&path, self.json()) {
                Ok(()) => println!("all figures: {}", path.display()),
                Err(error) => eprintln!("lab: {}: {error}", path.display()),
            }
        }
        println!("load {} after", load());
        let broken = self.rows.iter().filter(|row| !row.broken().is_empty()).count();
        println!("{} scenarios, {broken} not within their bounds", self.rows.len());
        if broken > 0 && options.enforce || self.rows.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    fn json(&self) -> String {
        let rows: Vec<String> = self.rows.iter().map(Row::json).collect();
        format!("{{\"scenarios\":[\n{}\n]}}\n", rows.join(",\n"))
    }
}

impl Row {
    fn read(&mut self, line: &str, verbose: bool) {
        if let Some(measure) = line.strip_prefix("MEASURE ") {
            let mut words = measure.split(' ');
            let (Some(name), Some(value)) = (words.next(), words.next().and_then(|word| word.parse().ok())) else {
                return;
            };
            let most = words.next().and_then(|word| word.parse().ok());
            match self.measures.iter_mut().find(|measure| measure.name == name) {
                Some(measure) => measure.values.push(value),
                None => self.measures.push(Measure { name: name.into(), values: vec![value], most }),
            }
        } else if let Some(run) = line.strip_prefix("RUN ") {
            self.runs.push(run.into());
        } else if let Some(why) = line.strip_prefix("FAILED ") {
            self.failures.push(why.into());
        } else if verbose {
            println!("{line}");
        }
    }

    fn median(&self, name: &str) -> f64 {
        self.measures.iter().find(|measure| measure.name == name).map_or(f64::NAN, Measure::median)
    }

    /// What is not as it must be, as sentences.
    fn broken(&self) -> Vec<String> {
        let broken = self.measures.iter().filter(|measure| !measure.is_kept());
        let broken = broken.map(|measure| {
            format!("{} {:.3} > {:.3}", measure.name, measure.median(), measure.most.unwrap_or(f64::NAN))
        });
        self.failures.iter().cloned().chain(broken).collect()
    }

    fn print(&self) {
        let broken = self.broken();
        let extra = EXTRA.iter().filter_map(|name| {
            let value = self.median(name);
            (!value.is_nan()).then(|| format!("{name} {value:.3}"))
        });
        let extra: Vec<String> = extra.collect();
        let verdict = if broken.is_empty() { "kept".into() } else { format!("BROKEN: {}", broken.join("; ")) };
        println!(
            "{:<16} {:>3} {:>4} {:>7.3} {:>7.3} {:>7.3} {:>7.1} {:>9.0} {:>7.1} {:>6.1} {:>6.1} {:>4.0}% {:>5.0}%  {verdict}{}{}",
            self.name,
            self.devices,
            self.runs.len(),
            self.median("ratio"),
            self.median("last"),
            self.median("median"),
            self.median("last_seconds"),
            self.median("from_peers_mib"),
            self.median("cpu_seconds"),
            self.median("cpu_seconds_per_gb"),
            self.median("peak_mib"),
            self.median("idle_percent"),
            self.median("stolen_percent"),
            if extra.is_empty() { "" } else { " | " },
            extra.join(", "),
        );
    }

    fn json(&self) -> String {
        let mut text = format!("{{\"name\":\"{}\",\"devices\":{},\"measures\":{{", self.name, self.devices);
        for (at, measure) in self.measures.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let number = |value: f64| if value.is_finite() { format!("{value:.4}") } else { "null".into() };
            let values: Vec<String> = measure.values.iter().map(|value| number(*value)).collect();
            let _ = write!(
                text,
                "{comma}\n  \"{}\":{{\"median\":{},\"most\":{},\"kept\":{},\"values\":[{}]}}",
                measure.name,
                number(measure.median()),
                measure.most.map_or("null".into(), number),
                measure.is_kept(),
                values.join(",")
            );
        }
        let failures: Vec<String> = self.failures.iter().map(|why| json_string(why)).collect();
        let _ = write!(text, "}},\n \"failures\":[{}],\n \"runs\":[{}]}}", failures.join(","), self.runs.join(",\n"));
        text
    }
}

impl Measure {
    /// Of an even number the worse one.
    fn median(&self) -> f64 {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn is_kept(&self) -> bool {
        self.most.is_none_or(|most| self.median() <= most)
    }
}

fn json_string(text: &str) -> String {
    let mut out = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            control if control.is_control() => out.push(' '),
            plain => out.push(plain),
        }
    }
    out.push('"');
    out
}

fn load() -> String {
    let said = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    said.split(' ').next().unwrap_or_default().to_owned()
}
