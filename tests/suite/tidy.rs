//! Rules of the source tree.

use std::path::{Path, PathBuf};

/// Longest source file, in lines.
const LINES_MAX: usize = 600;

#[test]
fn crates_import_downwards_only() {
    let forbidden = [
        (
            "core",
            &["driftless_sync", "driftless::", "driftless_bench", "driftless_tests", "tokio::", "quinn"][..],
        ),
        ("sync", &["driftless::", "driftless_bench", "driftless_tests"]),
        ("sync/src/proto", &["tokio", "quinn"]),
        ("sync/src/sim", &["tokio", "quinn"]),
        ("node", &["driftless_bench", "driftless_tests"]),
        ("bench", &["driftless_tests"]),
        ("tests", &["driftless_bench"]),
    ];
    let mut found = vec![];
    for (below, words) in forbidden {
        let files = sources().into_iter().filter(|file| {
            let file = relative(file);
            file.starts_with(below) || file == Path::new(&format!("{below}.rs"))
        });
        for file in files.filter(|file| !file.ends_with("tidy.rs")) {
            for (number, line) in read(&file).lines().enumerate() {
                let code = line.split("//").next().unwrap();
                if words.iter().any(|word| imports(code, word)) {
                    found.push(format!("{}:{}: {}", relative(&file).display(), number + 1, line.trim()));
                }
            }
        }
    }
    assert!(found.is_empty(), "imports that the layout forbids:\n{}", found.join("\n"));
}

#[test]
fn manifests_depend_downwards_only() {
    for (manifest, forbidden) in [
        ("core/Cargo.toml", &["driftless-sync", "driftless.workspace", "tokio", "quinn"][..]),
        ("sync/Cargo.toml", &["driftless.workspace", "driftless-bench"]),
        ("node/Cargo.toml", &["driftless-bench", "driftless-tests"]),
        ("bench/Cargo.toml", &["driftless-tests"]),
        ("tests/Cargo.toml", &["driftless-bench"]),
    ] {
        let text = read(&root().join(manifest));
        let dependencies = text.split("[dependencies]").nth(1).unwrap_or_default();
        let dependencies = dependencies.split("[dev-dependencies]").next().unwrap();
        for word in forbidden {
            assert!(!dependencies.contains(word), "{manifest} depends on {word}");
        }
    }
}

#[test]
fn files_are_short() {
    let long: Vec<String> = sources()
        .iter()
        .map(|file| (relative(file).display().to_string(), read(file).lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(file, lines)| format!("{file}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "files over {LINES_MAX} lines:\n{}", long.join("\n"));
}

#[test]
fn nothing_is_left_to_do_and_nothing_is_unbounded() {
    let mut found = vec![];
    for file in sources().into_iter().filter(|file| !file.ends_with("tidy.rs")) {
        let text = read(&file);
        for word in ["todo!", "unimplemented!", "unbounded_channel", "mpsc::unbounded", "dbg!("] {
            if text.contains(word) {
                found.push(format!("{}: {word}", relative(&file).display()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut documents = vec![root().join("README.md")];
    collect(&root().join("docs"), "md", &mut documents);
    let mut broken = vec![];
    for document in &documents {
        let text = read(document);
        for target in links(&text) {
            let path = target.split('#').next().unwrap();
            if path.is_empty() || path.contains("://") {
                continue;
            }
            if !document.parent().unwrap().join(path).exists() {
                broken.push(format!("{}: {target}", relative(document).display()));
            }
        }
    }
    assert!(documents.len() > 2, "{documents:?}");
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

/// Whether a line of code names a crate, as a word of its own.
fn imports(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !is_word(before) && (word.ends_with(':') || !is_word(after)) && !in_text(code, at)
    })
}

/// Whether a place in a line is within quotes.
fn in_text(code: &str, at: usize) -> bool {
    code[..at].matches('"').count() % 2 == 1
}

/// Targets of `[text](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("](").filter_map(|(at, _)| text[at + 2..].split([')', '\n']).next())
}

fn sources() -> Vec<PathBuf> {
    let mut found = vec![];
    for folder in ["core", "sync", "node", "bench", "tests"] {
        collect(&root().join(folder), "rs", &mut found);
    }
    assert!(found.len() > 50, "{found:?}");
    found
}

fn collect(below: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(below).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, extension, found);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix(root()).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}
