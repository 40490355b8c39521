//! Replays every committed file of the fuzz corpora through the fuzz targets' own functions, and
//! every byte string near it, so that a plain `cargo test` guards what fuzzing found.

#[path = "../fuzz/src/targets.rs"]
mod targets;

use std::path::Path;

#[test]
fn every_corpus_file_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in targets::TARGETS {
        let folder = corpus.join(name);
        let mut count = 0;
        let entries = std::fs::read_dir(&folder);
        let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.expect("a readable folder").path();
            let bytes = std::fs::read(&path).expect("a readable file");
            // Printed only when a property breaks: which file, and what of it.
            println!("{}", path.display());
            target(&bytes);
            for cut in 0..bytes.len() {
                target(&bytes[..cut]);
            }
            for at in 0..bytes.len() {
                for change in [0x01, 0x10, 0x80, 0xff] {
                    let mut changed = bytes.clone();
                    changed[at] ^= change;
                    println!("byte {at} ^ {change:#04x}");
                    target(&changed);
                }
            }
            count += 1;
        }
        assert!(count >= 4, "{}: {count} files", folder.display());
    }
}
