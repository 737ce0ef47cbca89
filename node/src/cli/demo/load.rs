//! What a demo starts with: the samples that this program carries, or a directory of files.
//!
//! What operators write goes to the first hub; what a site says of itself, such as its machines, to its own edge.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use driftless_core::name::{Document, Kind};

use super::fleet::Fleet;
use crate::cli::commands::apply::{Applied, How, apply};
use crate::cli::commands::import::{Sender, import_file};
use crate::cli::commands::manifests::{Manifest, from_documents};
use crate::cli::failure::Failure;
use crate::cli::import::{Format, HEAD_BYTES, Options, detect, open};
use crate::cli::print;
use crate::cli::session::Session;
use crate::cli::yaml;

const SAMPLES: [(&str, &str); 4] = [
    ("samples/10-catalog.yaml", include_str!("../../../samples/10-catalog.yaml")),
    ("samples/20-profiles.yaml", include_str!("../../../samples/20-profiles.yaml")),
    ("samples/30-overrides.yaml", include_str!("../../../samples/30-overrides.yaml")),
    ("samples/40-machines.yaml", include_str!("../../../samples/40-machines.yaml")),
];
/// Why, in the history of what is loaded.
const REASON: &str = "loaded by the demo";
/// Requests under way.
const REQUESTS: usize = 16;

/// Loads the samples.
pub(super) async fn samples(fleet: &Fleet) -> Result<(), Failure> {
    let mut sessions = Sessions::new(fleet)?;
    for (name, text) in SAMPLES {
        let documents = yaml::parse(name, text.as_bytes())?;
        let said = sessions.apply(from_documents(documents, sessions.namespace())?).await?;
        print::note(&format!("{name}: {said}"));
    }
    Ok(())
}

/// Loads every file of a directory, and of those below it, by what it is.
pub(super) async fn directory(fleet: &Fleet, dir: &Path) -> Result<(), Failure> {
    let mut sessions = Sessions::new(fleet)?;
    for path in files(dir)? {
        let name = path.display().to_string();
        if is_manifest(&name)? {
            let documents = yaml::read_inputs(&name, false)?;
            let said = sessions.apply(from_documents(documents, sessions.namespace())?).await?;
            print::note(&format!("{name}: {said}"));
            continue;
        }
        let mut head = Vec::new();
        let reader = open(&name)?;
        std::io::Read::read_to_end(&mut std::io::Read::take(reader, HEAD_BYTES as u64), &mut head)
            .map_err(|source| Failure::io("read", name.clone(), source))?;
        match detect(&name, &head) {
            Ok(format) => sessions.import(&name, format).await?,
            Err(error) => print::note(&format!("{name}: not loaded: {error}")),
        }
    }
    Ok(())
}

/// Sessions with the nodes that are written to.
struct Sessions<'a> {
    fleet: &'a Fleet,
    hub: Session,
    edges: BTreeMap<String, Session>,
}

impl<'a> Sessions<'a> {
    fn new(fleet: &'a Fleet) -> Result<Self, Failure> {
        Ok(Self { fleet, hub: fleet.first_hub()?.session()?, edges: BTreeMap::new() })
    }

    fn namespace(&self) -> &str {
        &self.hub.namespace
    }

    /// The session with a site's edge; `None` if the demo has no such site.
    fn edge(&mut self, site: &str) -> Result<Option<&Session>, Failure> {
        if !self.edges.contains_key(site) {
            let Some(node) = self.fleet.edge_of(site) else { return Ok(None) };
            self.edges.insert(site.to_owned(), node.session()?);
        }
        Ok(self.edges.get(site))
    }

    async fn apply(&mut self, manifests: Vec<Manifest>) -> Result<String, Failure> {
        let how = How { reason: Some(REASON), ..How::default() };
        let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
        let mut passed_over = 0u64;
        for manifest in &manifests {
            let applied = match owner(manifest) {
                None => Some(apply(&self.hub, manifest, how).await?),
                Some(site) => match self.edge(&site)? {
                    Some(session) => Some(apply(session, manifest, how).await?),
                    None => None,
                },
            };
            match applied {
                Some(applied) => *counts.entry(Applied::said(applied)).or_default() += 1,
                None => passed_over += 1,
            }
        }
        if passed_over > 0 {
            counts.insert("of sites that this demo has not", passed_over);
        }
        Ok(counts.iter().map(|(said, count)| format!("{count} {said}")).collect::<Vec<_>>().join(", "))
    }

    async fn import(&mut self, name: &str, format: Format) -> Result<(), Failure> {
        let mut options = Options { namespace: self.namespace().to_owned(), ..Options::default() };
        let session = match format {
            Format::HelmIndex | Format::SiteCsv | Format::Hiera => &self.hub,
            // Machines are of a site: of the one that the file's name has in it, else of the first.
            Format::KubernetesNodes | Format::MachineCsv => {
                let mut sites = self.fleet.nodes().iter().filter_map(|node| node.planned.site.as_deref());
                let named = sites.clone().find(|site| name.contains(site)).or_else(|| sites.next());
                let Some(site) = named.map(str::to_owned) else {
                    print::note(&format!("{name}: not loaded: this demo has no site for its machines"));
                    return Ok(());
                };
                options.site = Some(site.clone());
                match self.edge(&site)? {
                    Some(session) => session,
                    None => return Ok(()),
                }
            }
        };
        let sender = Sender::new(session, Some(REASON), None);
        let done = import_file(&sender, name, Some(format), &options, REQUESTS).await?;
        print::note(&done.summary(name));
        Ok(())
    }
}

/// The site that alone may write this, if there is one.
fn owner(manifest: &Manifest) -> Option<String> {
    let kind: Kind = manifest.resource.kind.parse().ok()?;
    let namespace = if manifest.resource.namespaced { manifest.namespace.as_str() } else { "" };
    let document = Document::new(kind, namespace, &manifest.name).ok()?;
    document.is_site_written().then(|| document.owner().map(str::to_owned))?
}

/// Whether a file has resources of ours.
fn is_manifest(name: &str) -> Result<bool, Failure> {
    if ![".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end)) {
        return Ok(false);
    }
    let text = std::fs::read(name).map_err(|source| Failure::io("read", name, source))?;
    let head = String::from_utf8_lossy(&text[..text.len().min(HEAD_BYTES)]).into_owned();
    Ok(head.contains(crate::api::GROUP_VERSION))
}

fn files(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |path: &Path, source| Failure::io("read", path.display().to_string(), source);
    let mut found = Vec::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(&dir).map_err(|source| failed(&dir, source))? {
            let entry = entry.map_err(|source| failed(&dir, source))?;
            let kind = entry.file_type().map_err(|source| failed(&entry.path(), source))?;
            match kind.is_dir() {
                true => pending.push(entry.path()),
                false => found.push(entry.path()),
            }
            if found.len() + pending.len() > yaml::INPUT_FILES_MAX {
                return Err(Failure::Refused(format!(
                    "{} has more than {} files",
                    dir.display(),
                    yaml::INPUT_FILES_MAX
                )));
            }
        }
    }
    found.sort();
    Ok(found)
}
