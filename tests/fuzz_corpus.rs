//! Replays the committed corpora of `fuzz/` through the fuzz targets themselves, with any Rust and without a fuzzer: what a run has
//! found once is tried again by every run of the tests.

#[path = "../fuzz/src/lib.rs"]
#[allow(missing_docs)]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

/// Inputs of a target, in order.
fn corpus(target: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a directory entry").path()).collect();
    files.sort();
    files
}

fn replay(target: &str) {
    let (_, run) = targets::TARGETS.into_iter().find(|(name, _)| *name == target).expect("a target");
    let files = corpus(target);
    assert!(files.len() >= 5, "the corpus of {target} is gone: {} inputs", files.len());
    let fails = |file: &&PathBuf| {
        let input = fs::read(file).expect("it can be read");
        catch_unwind(|| run(&input)).is_err()
    };
    let failed: Vec<_> = files.iter().filter(fails).collect();
    assert!(failed.is_empty(), "{target} breaks its promise on {failed:?}");
}

#[test]
fn the_corpus_of_datagrams_keeps_its_promises() {
    replay("datagram");
}

#[test]
fn the_corpus_of_requests_keeps_its_promises() {
    replay("request");
}

#[test]
fn the_corpus_of_responses_keeps_its_promises() {
    replay("response");
}

#[test]
fn the_corpus_of_local_requests_keeps_its_promises() {
    replay("local");
}

#[test]
fn the_corpus_of_record_streams_keeps_its_promises() {
    replay("records");
}

#[test]
fn the_corpus_of_md5sums_keeps_its_promises() {
    replay("sums");
}

#[test]
fn the_corpus_of_commands_into_the_mind_keeps_its_promises() {
    replay("mind");
}

#[test]
fn every_target_has_a_fuzzer_and_a_corpus_and_there_are_no_others() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let named = |directory: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(root.join(directory)).expect("a directory");
        let stem =
            |entry: fs::DirEntry| Path::new(&entry.file_name()).file_stem().unwrap().to_string_lossy().into_owned();
        entries.map(|entry| stem(entry.expect("an entry"))).collect()
    };
    let targets: BTreeSet<String> = targets::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(named("fuzz_targets"), targets);
    assert_eq!(named("corpus"), targets);
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("the manifest");
    for target in targets {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")), "{target} is not in the manifest");
        replay_is_named(&target);
    }
}

/// A target that is not replayed above would be a corpus that nobody reads.
fn replay_is_named(target: &str) {
    assert!(include_str!("fuzz_corpus.rs").contains(&format!("replay(\"{target}\")")), "{target} is not replayed");
}

#[test]
fn the_corpora_stay_small() {
    let files = || targets::TARGETS.iter().flat_map(|(name, _)| corpus(name));
    let bytes: u64 = files().map(|file| fs::metadata(file).expect("a file").len()).sum();
    assert!(bytes < 200_000, "{bytes} bytes: minimise them (fuzz/Cargo.toml says how)");
}
