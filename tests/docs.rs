//! What `docs/` says about tests, golden vectors and files is so.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use p2p_agent::want::Reason;

/// Documents, each with the path from which its links start.
const DOCUMENTS: [&str; 17] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/api.md",
    "docs/protocol.md",
    "docs/architecture.md",
    "docs/behaviours.md",
    "docs/threat-model.md",
    "docs/operations.md",
    "docs/arm.md",
    "docs/images.md",
    "docs/measurements.md",
    "buildroot-package/README.md",
    "meta-p2p/README.md",
    "meta-p2p/SECURITY.md",
    "tests/vectors/README.md",
];

#[test]
fn the_protocol_quotes_the_golden_vectors_and_all_of_them() {
    let page = read("docs/protocol.md");
    let quoted = page.lines().skip_while(|line| *line != "```vectors").skip(1).take_while(|line| *line != "```");
    let golden = read("tests/vectors/v1.txt");
    assert!(golden.lines().count() > 20);
    assert_eq!(quoted.collect::<Vec<_>>(), golden.lines().collect::<Vec<_>>());
}

#[test]
fn every_behaviour_has_its_row_in_order() {
    let page = read("docs/behaviours.md");
    let numbers: Vec<u32> =
        page.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |")?.0.parse().ok()).collect();
    assert_eq!(numbers, (1..=59).collect::<Vec<_>>());
}

#[test]
fn every_test_that_is_named_exists() {
    let known = tests_in_the_sources();
    assert!(known.len() > 200, "{}", known.len());
    for document in DOCUMENTS {
        let page = read(document);
        let words = page.split('`').skip(1).step_by(2);
        // Test names are sentences; nothing else in backquotes has so many underscores in lower case.
        let named = words.filter(|word| {
            word.matches('_').count() >= 3 && word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        });
        for name in named.filter(|word| !word.starts_with("p2p_")) {
            assert!(known.contains(name), "{document}: there is no test {name}");
        }
    }
}

#[test]
fn every_file_that_is_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for document in DOCUMENTS {
        for word in read(document).split('`').skip(1).step_by(2) {
            let is_path =
                ["src/", "tests/", "docs/", "examples/", "fuzz/", ".ci/"].iter().any(|start| word.starts_with(start));
            if is_path && !word.contains([' ', '*', '<']) {
                assert!(root.join(word).exists(), "{document}: there is no {word}");
            }
        }
    }
}

#[test]
fn every_flag_that_is_named_exists() {
    let programs = ["src/bin/p2p-agent/cli.rs", "src/bin/p2p-fetch/options.rs", "examples/site/options.rs"];
    let sources: Vec<_> = programs.into_iter().chain(["tests/lab/options.rs"]).map(read).collect();
    for document in DOCUMENTS {
        for word in read(document).split('`').skip(1).step_by(2) {
            let flag = word.split([' ', '=']).next().unwrap_or_default();
            if let Some(name) =
                flag.strip_prefix("--").filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
            {
                let read_as = format!("Long(\"{name}\")");
                assert!(sources.iter().any(|source| source.contains(&read_as)), "{document}: there is no --{name}");
            }
        }
    }
}

#[test]
fn every_option_verb_reason_and_exit_code_is_in_its_manual_page() {
    let (agent, fetch) = (read("src/bin/p2p-agent/cli.rs"), read("src/bin/p2p-fetch/options.rs"));
    let (agent_page, fetch_page) = (read("docs/man/p2p-agent.8"), read("docs/man/p2p-fetch.1"));
    for (source, page) in [(&agent, &agent_page), (&fetch, &fetch_page)] {
        let options: BTreeSet<&str> =
            source.split("Long(\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0)).collect();
        assert!(options.len() > 8, "{options:?}");
        for option in options {
            let described =
                |line: &str| line.starts_with(".It") && format!("{line} ").contains(&format!(" Fl {option} "));
            assert!(page.lines().any(described), "--{option}");
        }
    }
    let help = Command::new(env!("CARGO_BIN_EXE_p2p-agent")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let usage =
        help.lines().filter_map(|line| line.trim_start_matches("Usage:").trim_start().strip_prefix("p2p-agent "));
    let verbs: BTreeSet<&str> = usage.filter_map(|line| line.split(' ').next()).filter(|verb| *verb != "-").collect();
    assert!(verbs.contains("run") && verbs.contains("clock-guard"), "{verbs:?}");
    for verb in verbs {
        assert!(agent_page.lines().any(|line| line.starts_with(&format!(".Cm {verb}"))), "{verb}");
    }
    for reason in Reason::ALL {
        assert!(agent_page.lines().any(|line| line == format!(".It Cm {}", reason.as_str())), "{}", reason.as_str());
    }

    let numbers = |source: &str, before: &str, after: &str| -> BTreeSet<u8> {
        let lines = source.lines().map(str::trim).filter(|line| line.starts_with(before));
        lines.filter_map(|line| line.rsplit_once("= ")?.1.strip_suffix(after)?.parse().ok()).collect()
    };
    let of_agent = numbers(&agent, "pub const ", ";");
    let of_fetch = numbers(&read("src/bin/p2p-fetch/failure.rs"), "", ",");
    assert!(of_agent.len() >= 7 && of_fetch.len() >= 6, "{of_agent:?} {of_fetch:?}");
    for (codes, page) in [(&of_agent, &agent_page), (&of_fetch, &fetch_page)] {
        let described: BTreeSet<u8> = page
            .lines()
            .filter_map(|line| line.strip_prefix(".It ")?.parse::<u8>().ok())
            .filter(|code| *code > 0)
            .collect();
        assert_eq!(described, *codes);
    }
    let operations = read("docs/operations.md");
    let rows = operations.lines().skip_while(|line| *line != "### Exit codes").filter(|line| line.starts_with("| "));
    let described: BTreeSet<u8> = rows.map_while(|line| line.split(' ').nth(1)?.parse().ok().or(Some(0))).collect();
    assert!(of_agent.union(&of_fetch).all(|code| described.contains(code)), "{described:?}");
}

#[test]
fn every_link_leads_to_a_file_and_every_anchor_to_a_heading() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for document in DOCUMENTS {
        let page = read(document);
        let targets = page.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        for target in targets.filter(|target| !target.starts_with("http")) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = match file {
                "" => root.join(document),
                file => root.join(document).with_file_name(file),
            };
            assert!(path.exists(), "{document}: {target}");
            if !anchor.is_empty() {
                let text = fs::read_to_string(path).unwrap();
                let mut headings = text.lines().filter(|line| line.starts_with('#')).map(anchor_of);
                assert!(headings.any(|heading| heading == anchor), "{document}: {target}");
            }
        }
    }
}

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// As GitHub makes them.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-')).collect::<String>().replace(' ', "-")
}

/// Names of all functions behind `#[test]` in the project's own sources.
fn tests_in_the_sources() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for directory in ["src", "tests", "examples"] {
        collect_sources(&root.join(directory), &mut files);
    }
    let mut names = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for behind in text.split("#[test]").skip(1) {
            // Other attributes and comments may stand in between, but no other function.
            let name = behind.split_once("fn ").map(|(_, rest)| rest.split(['(', '<']).next().unwrap_or_default());
            names.extend(name.map(|name| name.trim().to_owned()));
        }
    }
    names
}

fn collect_sources(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
