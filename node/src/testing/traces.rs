//! Real histories of configuration repositories, as the events that their writers would have made here.
//!
//! Each file is one document, each commit that changes it one event of its writer, and the commit graph
//! is the causality: an event depends on the last events of its file that its commit had as ancestors. A
//! person's merge becomes an event where what we merge differs from what the person made of it, or leaves
//! a conflict. Versions that are no YAML, or are too large for a document, are left out and counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use driftless_core::document::{DELETED_PATH, DocumentState, Effect, RebuildError};
use driftless_core::event::{ChainId, Event, Header, Operation, SCHEMA_VERSION};
use driftless_core::ids::EventId;
use driftless_core::name::{Document, Kind};
use driftless_core::testing;
use driftless_core::view;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::cli::yaml::{Mode, each_document};

/// The registers of one version of a file: JSON text by path.
pub type Content = BTreeMap<String, Arc<str>>;

/// A history, and the merges that people made in it.
#[derive(Debug, Default)]
pub struct Trace {
    /// Every event, after all that it depends on and all before it in its chain.
    pub events: Vec<Arc<Event>>,
    /// How many writers there are; the keys are those with the numbers 1 to this.
    pub writers: u16,
    /// Merges of people that had to combine content.
    pub merges: Vec<Merge>,
    /// Versions of files that were left out.
    pub unreadable: usize,
    /// Merges of people whose result is none of ours to judge: no file any more, or left out.
    pub unjudged: usize,
}

/// What a person made of two versions, and what we did.
#[derive(Debug)]
pub struct Merge {
    /// The file.
    pub path: String,
    /// The commit.
    pub commit: String,
    /// Our merge of everything that both sides had.
    pub state: DocumentState,
    /// The version that both sides started from, if there is one.
    pub base: Content,
    /// The versions of both sides.
    pub sides: [Content; 2],
    /// What the person made of them.
    pub human: Content,
}

impl Trace {
    /// Reads `NAME.*.ndjson.zst` in the directory of traces.
    pub fn read(directory: &Path, name: &str) -> anyhow::Result<Self> {
        let lines = |what: &str| directory.join(format!("{name}.{what}.ndjson.zst"));
        let blobs: Vec<Blob> = read(&lines("blobs"))?;
        let merges: Vec<HumanMerge> = read(&lines("merges"))?;
        let commits: Vec<Commit> = read(&lines("events"))?;
        let mut replay = Replay::new(blobs, merges, &commits);
        commits.iter().try_for_each(|commit| replay.commit(commit))?;
        Ok(replay.trace)
    }

    /// The places of all events in an order that a network might deliver them in: random, but each after
    /// what it depends on and what is before it in its chain.
    pub fn shuffled(&self, seed: u64) -> Vec<usize> {
        let places: BTreeMap<EventId, usize> = self.events.iter().map(|event| event.id()).zip(0..).collect();
        let mut waits = vec![0usize; self.events.len()];
        let mut awaited_by = vec![vec![]; self.events.len()];
        for (place, event) in self.events.iter().enumerate() {
            let header = event.header();
            let before: BTreeSet<EventId> =
                header.dependencies.iter().copied().chain(header.previous).collect();
            waits[place] = before.len();
            before.iter().for_each(|id| awaited_by[places[id]].push(place));
        }
        let mut ready: Vec<usize> = (0..waits.len()).filter(|place| waits[*place] == 0).collect();
        let mut order = Vec::with_capacity(self.events.len());
        let mut random = seed;
        while !ready.is_empty() {
            // The step of a splitmix generator: any sequence without a pattern will do.
            random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let place = ready.swap_remove((mixed >> 33) as usize % ready.len());
            order.push(place);
            for later in &awaited_by[place] {
                waits[*later] -= 1;
                if waits[*later] == 0 {
                    ready.push(*later);
                }
            }
        }
        order
    }
}

#[derive(Deserialize)]
struct Blob {
    id: String,
    text: Option<String>,
}

#[derive(Deserialize)]
struct HumanMerge {
    commit: String,
    files: Vec<HumanFile>,
}

#[derive(Deserialize)]
struct HumanFile {
    path: String,
    base: Option<String>,
}

#[derive(Deserialize)]
struct Commit {
    commit: String,
    parents: Vec<String>,
    writer: String,
    author_time: u64,
    changes: Vec<Change>,
}

#[derive(Deserialize)]
struct Change {
    path: String,
    new: Option<String>,
}

fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    let mut decoder = zstd::Decoder::new(File::open(path)?)?;
    decoder.window_log_max(27)?;
    BufReader::new(decoder).lines().map(|line| Ok(serde_json::from_str(&line?)?)).collect()
}

/// A file as one commit has it.
#[derive(Debug, Clone, Default)]
struct Version {
    /// The last events of it, ascending.
    heads: Vec<EventId>,
    /// `None` if there is no such file.
    content: Option<Arc<Content>>,
}

type Tree = BTreeMap<Arc<str>, Version>;

struct Replay {
    blobs: BTreeMap<String, String>,
    /// The files that people merged, by commit.
    merged: BTreeMap<String, Vec<HumanFile>>,
    /// Of commits that still have children to come, with how many.
    trees: BTreeMap<String, (Tree, usize)>,
    children: BTreeMap<String, usize>,
    documents: BTreeMap<Arc<str>, Document>,
    places: BTreeMap<EventId, usize>,
    writers: BTreeMap<String, Writer>,
    trace: Trace,
}

struct Writer {
    number: u16,
    seq: u64,
    previous: Option<EventId>,
}

impl Replay {
    fn new(blobs: Vec<Blob>, merges: Vec<HumanMerge>, commits: &[Commit]) -> Self {
        let blobs = blobs.into_iter().filter_map(|blob| Some((blob.id, blob.text?))).collect();
        let merged = merges.into_iter().map(|merge| (merge.commit, merge.files)).collect();
        let mut children: BTreeMap<String, usize> = BTreeMap::new();
        for parent in commits.iter().flat_map(|commit| &commit.parents) {
            *children.entry(parent.clone()).or_default() += 1;
        }
        Self {
            blobs,
            merged,
            trees: BTreeMap::new(),
            children,
            documents: BTreeMap::new(),
            places: BTreeMap::new(),
            writers: BTreeMap::new(),
            trace: Trace::default(),
        }
    }

    fn commit(&mut self, commit: &Commit) -> anyhow::Result<()> {
        let mut trees =
            commit.parents.iter().map(|parent| self.tree_of(parent)).collect::<Vec<_>>().into_iter();
        let mut tree = trees.next().unwrap_or_default();
        let mut wanted: BTreeMap<Arc<str>, Option<Arc<Content>>> = BTreeMap::new();
        for change in &commit.changes {
            match self.content(change.new.as_deref()) {
                Ok(content) => drop(wanted.insert(change.path.as_str().into(), content)),
                Err(Unreadable) => self.trace.unreadable += 1,
            }
        }
        let trees: Vec<Tree> = trees.collect();
        for file in self.merged.remove(&commit.commit).unwrap_or_default() {
            let theirs = trees.first().and_then(|tree| tree.get(file.path.as_str()));
            let sides = [tree.get(file.path.as_str()), theirs].map(|side| side.cloned());
            let is_changed = commit.changes.iter().any(|change| change.path == file.path);
            let human = match (wanted.get(file.path.as_str()), is_changed) {
                (Some(human), _) => human.clone(),
                (None, true) => None,
                (None, false) => sides[0].as_ref().and_then(|ours| ours.content.clone()),
            };
            self.compare(commit, file, sides.map(Option::unwrap_or_default), human)?;
        }
        for other in trees {
            for (path, theirs) in other {
                let ours = tree.get(&path).cloned().unwrap_or_default();
                let heads = self.heads(&ours.heads, &theirs.heads);
                if heads == ours.heads {
                    continue;
                }
                let result = wanted.remove(&path).unwrap_or_else(|| ours.content.clone());
                let version = match heads == theirs.heads {
                    true => self.write(commit, &path, theirs, result),
                    false => self.merge(commit, &path, heads, result)?,
                };
                tree.insert(path, version);
            }
        }
        for (path, content) in wanted {
            let before = tree.remove(&path).unwrap_or_default();
            let after = self.write(commit, &path, before, content);
            tree.insert(path, after);
        }
        if let Some(children) = self.children.get(&commit.commit) {
            self.trees.insert(commit.commit.clone(), (tree, *children));
        }
        Ok(())
    }

    fn tree_of(&mut self, commit: &str) -> Tree {
        let Some((tree, children)) = self.trees.get_mut(commit) else { return Tree::new() };
        *children -= 1;
        match children {
            0 => self.trees.remove(commit).map(|(tree, _)| tree).unwrap_or_default(),
            _ => tree.clone(),
        }
    }

    /// One side's change of a file; a change that changes no register is none.
    fn write(
        &mut self,
        commit: &Commit,
        path: &Arc<str>,
        before: Version,
        wanted: Option<Arc<Content>>,
    ) -> Version {
        let nothing = Content::new();
        let (old, new) = (before.content.as_deref(), wanted.as_deref());
        if old == new {
            return before;
        }
        let (old, is_new) = (old.unwrap_or(&nothing), old.is_none());
        let mut operations = vec![];
        for (path, value) in new.into_iter().flatten() {
            if old.get(path) != Some(value) {
                operations.push(Operation::Put { path: path.clone(), value: value.clone() });
            }
        }
        let gone = old.keys().filter(|path| new.is_none_or(|new| !new.contains_key(*path)));
        operations.extend(gone.map(|path| Operation::Delete { path: path.clone() }));
        if new.is_none() {
            operations.push(Operation::Put { path: DELETED_PATH.to_owned(), value: "true".into() });
        }
        let incarnation = self.incarnation(&before.heads) + u32::from(is_new);
        let event = self.append(commit, path, before.heads, incarnation, operations);
        Version { heads: vec![event], content: wanted }
    }

    /// What both sides changed: ours if the person made the same of it, else the person's on top.
    fn merge(
        &mut self,
        commit: &Commit,
        path: &Arc<str>,
        heads: Vec<EventId>,
        human: Option<Arc<Content>>,
    ) -> anyhow::Result<Version> {
        let state = self.state(&heads)?;
        let shown = match state.is_live() {
            true => Some(view::flatten(&view::resource(&self.document(path), &state))?),
            false => None,
        };
        let is_settled = shown.as_ref() == human.as_deref() && state.conflicts().is_empty();
        if is_settled {
            return Ok(Version { heads, content: human });
        }
        let (incarnation, operations) = match &human {
            Some(human) => {
                let again = u32::from(!state.is_live());
                (state.incarnation() + again, view::difference(&state, human))
            }
            None => {
                let registers = state.registers().map(|(path, _)| path).filter(|path| *path != DELETED_PATH);
                let deletes = registers.map(|path| Operation::Delete { path: path.to_owned() });
                let whole = Operation::Put { path: DELETED_PATH.to_owned(), value: "true".into() };
                (state.incarnation(), deletes.chain([whole]).collect())
            }
        };
        let event = self.append(commit, path, heads, incarnation, operations);
        Ok(Version { heads: vec![event], content: human })
    }

    /// Notes what a person made of a file, and what we make of it.
    fn compare(
        &mut self,
        commit: &Commit,
        file: HumanFile,
        [ours, theirs]: [Version; 2],
        human: Option<Arc<Content>>,
    ) -> anyhow::Result<()> {
        let heads = self.heads(&ours.heads, &theirs.heads);
        let base = self.content(file.base.as_deref());
        let (Some(human), Ok(base), false) = (human, base, heads.is_empty()) else {
            self.trace.unjudged += 1;
            return Ok(());
        };
        let state = self.state(&heads)?;
        let plain = |content: Option<Arc<Content>>| content.map_or_else(Content::new, Arc::unwrap_or_clone);
        self.trace.merges.push(Merge {
            path: file.path,
            commit: commit.commit.clone(),
            state,
            base: plain(base),
            sides: [plain(ours.content), plain(theirs.content)],
            human: Arc::unwrap_or_clone(human),
        });
        Ok(())
    }

    /// The events of both that no event of the other descends from, ascending.
    fn heads(&self, ours: &[EventId], theirs: &[EventId]) -> Vec<EventId> {
        if ours == theirs {
            return ours.to_vec();
        }
        let both: BTreeSet<EventId> = ours.iter().chain(theirs).copied().collect();
        let seen = self.behind(both.iter().flat_map(|id| self.event(id).header().dependencies.clone()));
        both.difference(&seen).copied().collect()
    }

    /// These events and all that they descend from.
    fn behind(&self, heads: impl IntoIterator<Item = EventId>) -> BTreeSet<EventId> {
        let mut open: Vec<EventId> = heads.into_iter().collect();
        let mut met = BTreeSet::new();
        while let Some(id) = open.pop() {
            if met.insert(id) {
                open.extend(&self.event(&id).header().dependencies);
            }
        }
        met
    }

    fn state(&self, heads: &[EventId]) -> Result<DocumentState, RebuildError> {
        let behind = self.behind(heads.iter().copied());
        DocumentState::rebuild(behind.iter().map(|id| (self.event(id).as_ref(), Effect::Effective)))
    }

    fn event(&self, id: &EventId) -> &Arc<Event> {
        &self.trace.events[self.places[id]]
    }

    fn incarnation(&self, heads: &[EventId]) -> u32 {
        heads.iter().map(|id| self.event(id).header().incarnation).max().unwrap_or(0)
    }

    fn document(&mut self, path: &Arc<str>) -> Document {
        let name = format!("file-{}", self.documents.len());
        let document = || Document::new(Kind::Profile, "acme", &name).expect("a number makes a fine name");
        self.documents.entry(Arc::clone(path)).or_insert_with(document).clone()
    }

    fn append(
        &mut self,
        commit: &Commit,
        path: &Arc<str>,
        dependencies: Vec<EventId>,
        incarnation: u32,
        operations: Vec<Operation>,
    ) -> EventId {
        let lamport = dependencies.iter().map(|id| self.event(id).header().lamport).max().unwrap_or(0) + 1;
        let document = self.document(path);
        let next = u16::try_from(self.writers.len() + 1).expect("a few hundred people write a repository");
        let first = Writer { number: next, seq: 0, previous: None };
        let writer = self.writers.entry(commit.writer.clone()).or_insert(first);
        writer.seq += 1;
        let header = Header {
            schema: SCHEMA_VERSION,
            fleet: testing::fleet(),
            document,
            incarnation,
            chain: ChainId { author: testing::author(writer.number), boot: testing::boot(1) },
            author_seq: writer.seq,
            previous: writer.previous,
            succeeds: None,
            dependencies,
            lamport,
            time_ms: commit.author_time * 1_000,
            by: commit.writer.clone(),
            reason: String::new(),
            extensions: BTreeMap::new(),
        };
        let event = Event::new(header, operations);
        let id = event.id();
        writer.previous = Some(id);
        self.trace.writers = self.trace.writers.max(next.min(writer.number));
        self.places.insert(id, self.trace.events.len());
        self.trace.events.push(Arc::new(event));
        id
    }

    /// The registers of a blob: one document as it is, several by their place in the file.
    fn content(&self, blob: Option<&str>) -> Result<Option<Arc<Content>>, Unreadable> {
        let Some(blob) = blob else { return Ok(None) };
        let text = self.blobs.get(blob).ok_or(Unreadable)?;
        let mut documents = vec![];
        let read =
            each_document(blob, text.as_bytes(), Mode::Lenient, &mut |found| documents.push(found.value));
        read.map_err(|_| Unreadable)?;
        let value = match documents.len() {
            0 => Value::Object(Map::new()),
            1 => documents.remove(0),
            _ => Value::Object(
                documents.into_iter().enumerate().map(|(n, one)| (n.to_string(), one)).collect(),
            ),
        };
        let flat = view::flatten(&serde_json::json!({ "spec": value }));
        flat.map(|flat| Some(Arc::new(flat))).map_err(|_| Unreadable)
    }
}

/// The version cannot be a document.
struct Unreadable;
