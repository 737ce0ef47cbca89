//! Why a value is what it is, why a profile does not apply, and what a new override may not touch.

use serde_json::{Map, Value};
use thiserror::Error;

use super::merge::{Enforced, EnforcedWrites, Refusal, enforced, merge, refuse};
use super::path::{Path, PathError};
use super::select::{Applied, Selected, labels_of, select, site_spec};
use super::variables::{Variable, evaluate, mentioned};
use super::walk::{Below, Step, Write, pointer, print, walk};
use super::{Failure, Inputs, Layer, ObjectInput, Render, revision};
use crate::schema::specs::{Lifecycle, ProfileSpec};

/// Why a value is what it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The path, as printed.
    pub path: String,
    /// The value; `None` if the source removed it.
    pub value: Option<Value>,
    /// The write that decided; for a map, the highest write in it.
    pub source: Contribution,
    /// What it beat, lowest first; for a map, the other layers that wrote in it.
    pub shadowed: Vec<Contribution>,
    /// Writes that do not stand.
    pub denied: Vec<Contribution>,
    /// Whether objects of equal rank write different values here, or below.
    pub ambiguous: bool,
    /// For a map, the paths of the leaves that layers wrote below it.
    pub leaves: Vec<String>,
    /// The variables that the source, or a profile that it beat, mentions.
    pub variables: Vec<(String, Option<Variable>)>,
}

/// One object's write to a path.
#[derive(Debug, Clone, PartialEq)]
pub struct Contribution {
    /// The layer.
    pub layer: Layer,
    /// The kind of the object.
    pub kind: &'static str,
    /// The name of the object.
    pub name: String,
    /// The priority of the object.
    pub priority: u16,
    /// The revision of the object's spec, in full.
    pub revision: String,
    /// The RFC 6901 pointer in the object's resource where the value is written. Provenance is kept for
    /// whole lists, so look for the register at or above it.
    pub pointer: String,
    /// What is written there, before variables.
    pub value: Value,
}

/// Why there is no explanation.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExplainError {
    /// The text is not a path.
    #[error("{0}")]
    Path(#[from] PathError),
    /// Nothing that applies to the site writes there.
    #[error("nothing that applies to the site writes {0}")]
    Unset(String),
    /// The site does not resolve.
    #[error("the site does not resolve: {0}")]
    Failed(#[from] Failure),
}

/// Whether a profile applies to a site, and why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhyNot {
    /// It applies.
    Matches,
    /// There is no such profile in the site's namespace.
    Unknown,
    /// It is not published.
    Lifecycle(Lifecycle),
    /// This term of its selector failed.
    Selector(String),
    /// It, or the site, cannot be read.
    Invalid(String),
}

/// A path that an override may not touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The path as the override writes it; `vars.<name>` for a variable that an enforced value mentions.
    pub path: String,
    /// The profile that enforces it.
    pub profile: String,
}

/// Explains the value at a path, which people write with dots.
pub fn explain(inputs: &Inputs<'_>, path: &str) -> Result<Explanation, ExplainError> {
    let path = Path::parse(path)?;
    let selected = select(inputs)?;
    let enforced = enforced(&selected)?;
    let mut found = Found { query: &path, standing: Vec::new(), denied: Vec::new(), leaves: Vec::new() };
    for layer in &selected.layers {
        found.read(layer, &selected, &enforced)?;
    }
    for layer in selected.layers.iter().filter(|layer| layer.enforced.is_some()) {
        found.read_enforced(layer, &selected)?;
    }
    let source = found.standing.pop().ok_or_else(|| ExplainError::Unset(path.to_string()))?;
    found
        .standing
        .retain(|c| !(source.layer == Layer::Enforced && c.kind == source.kind && c.name == source.name));
    let merged = merge(&selected)?;
    let variables = evaluate(&selected, &merged.vars)?;
    let mut render = Render { selected: &selected, variables: &variables };
    merged.tree.render(&mut render)?;
    let value = merged.tree.render_at(path.keys(), &mut render)?;
    // Overrides are not substituted in; what they beat was.
    let mut names: Vec<String> = Vec::new();
    for written in std::iter::once(&source).chain(&found.standing).filter(|found| found.kind == "Profile") {
        mentioned(&written.value, &mut |name| {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        });
    }
    let printed = path.to_string();
    let ambiguous = super::merge::ambiguities(&selected)?;
    let touches = |other: &str| {
        Path::parse(other).is_ok_and(|other| {
            let (a, b) = (other.keys(), path.keys());
            a.starts_with(b) || b.starts_with(a)
        })
    };
    found.leaves.sort();
    found.leaves.dedup();
    Ok(Explanation {
        value,
        ambiguous: ambiguous.iter().any(|ambiguity| touches(&ambiguity.path)),
        path: printed,
        source,
        shadowed: found.standing,
        denied: found.denied,
        leaves: found.leaves,
        variables: names
            .into_iter()
            .map(|name| (name.clone(), variables.get(&name).cloned().flatten()))
            .collect(),
    })
}

/// Says whether a profile applies to the site, and which term of its selector failed.
pub fn why_not(inputs: &Inputs<'_>, profile: &str) -> WhyNot {
    let Some(input) = inputs.profiles.iter().find(|input| input.name == profile) else {
        return WhyNot::Unknown;
    };
    let site = match site_spec(inputs) {
        Ok(site) => site,
        Err(failure) => return WhyNot::Invalid(failure.to_string()),
    };
    match ProfileSpec::read_lifecycle(input.spec) {
        Ok(Lifecycle::Published) => {}
        Ok(lifecycle) => return WhyNot::Lifecycle(lifecycle),
        Err(error) => return WhyNot::Invalid(error.to_string()),
    }
    let labels = labels_of(inputs, site.region);
    match ProfileSpec::read_selector(input.spec) {
        Err(error) => WhyNot::Invalid(error.to_string()),
        Ok(selector) => match selector.matches_site(&labels, &inputs.claims) {
            Ok(()) => WhyNot::Matches,
            Err(unmatched) => WhyNot::Selector(unmatched.term),
        },
    }
}

/// Lists what an override, new or changed, would touch of what profiles enforce at this site.
///
/// The API refuses such an override, even where the values are equal. A site that does not resolve for
/// another reason, or an override that does not apply to it, violates nothing here.
pub fn enforcement_violations(inputs: &Inputs<'_>, name: &str, spec: &Value) -> Vec<Violation> {
    let mut inputs = inputs.clone();
    inputs.overrides = vec![ObjectInput { name, spec }];
    let Ok(selected) = select(&inputs) else { return Vec::new() };
    let Ok(enforced) = enforced(&selected) else { return Vec::new() };
    let mut violations = Vec::new();
    for layer in selected.layers.iter().filter(|layer| !layer.is_profile()) {
        for name in layer.vars.into_iter().flat_map(Map::keys) {
            if let Some(owner) = enforced.variables.get(name.as_str()) {
                let profile = selected.layers[*owner].name.to_owned();
                violations.push(Violation { path: format!("vars.{name}"), profile });
            }
        }
        let Some(values) = layer.values else { continue };
        // A tree that cannot be walked is refused by validation; what was found before still counts.
        let _ = walk(values, &selected.list_keys, |path, write| {
            if let Some(Refusal::Enforced(profile)) = refuse(path, write, layer, &selected, &enforced) {
                violations.push(Violation { path: print(path), profile });
            }
            Ok(Below::Skip)
        });
    }
    violations
}

/// What was found about the path that is asked for.
struct Found<'q> {
    query: &'q Path,
    standing: Vec<Contribution>,
    denied: Vec<Contribution>,
    leaves: Vec<String>,
}

/// How a write lies to the path that is asked for.
#[derive(PartialEq)]
enum Place {
    AtOrAbove,
    Below,
    Apart,
}

impl Found<'_> {
    fn read(
        &mut self,
        layer: &Applied<'_>,
        selected: &Selected<'_>,
        enforced: &Enforced<'_>,
    ) -> Result<(), Failure> {
        let Some(values) = layer.values else { return Ok(()) };
        let (mut standing, mut denied) = (None, None);
        let walked = walk(values, &selected.list_keys, |path, write| {
            let is_denied = refuse(path, write, layer, selected, enforced).is_some();
            self.note(path, write, values, if is_denied { &mut denied } else { &mut standing }, !is_denied);
            Ok(if is_denied { Below::Skip } else { Below::Walk })
        });
        walked.map_err(|failure| failure.of(layer.title()))?;
        self.standing.extend(standing.map(|pointer| contribution(layer, layer.layer, pointer)));
        self.denied.extend(denied.map(|pointer| contribution(layer, layer.layer, pointer)));
        Ok(())
    }

    fn read_enforced(&mut self, layer: &Applied<'_>, selected: &Selected<'_>) -> Result<(), Failure> {
        let (Some(values), Some(paths)) = (layer.values, &layer.enforced) else { return Ok(()) };
        let mut standing = None;
        let mut writes = EnforcedWrites::new(paths);
        let walked = walk(values, &selected.list_keys, |path, write| {
            if writes.contain(path, write) {
                self.note(path, write, values, &mut standing, true);
            }
            Ok(Below::Walk)
        });
        walked.map_err(|failure| failure.of(layer.title()))?;
        self.standing.extend(standing.map(|pointer| contribution(layer, Layer::Enforced, pointer)));
        Ok(())
    }

    /// Notes a write; the pointer of a write at or above the path goes before that of the map around
    /// writes below it.
    fn note(
        &mut self,
        path: &[Step<'_>],
        write: Write<'_>,
        values: &Map<String, Value>,
        out: &mut Option<String>,
        stands: bool,
    ) {
        let depth = self.query.keys().len();
        match self.place(path) {
            Place::AtOrAbove => {
                let is_idle = matches!(write, Write::EmptyMap | Write::EmptyList) && path.len() < depth;
                if !is_idle {
                    *out = Some(pointer(values, path));
                }
            }
            Place::Below => {
                if stands && !matches!(write, Write::EmptyMap | Write::EmptyList | Write::Replace(_)) {
                    self.leaves.push(print(path));
                }
                *out = Some(pointer(values, &path[..depth]));
            }
            Place::Apart => {}
        }
    }

    fn place(&self, path: &[Step<'_>]) -> Place {
        let keys = self.query.keys();
        if !path.iter().zip(keys).all(|(step, key)| step.name() == key) {
            return Place::Apart;
        }
        if path.len() <= keys.len() { Place::AtOrAbove } else { Place::Below }
    }
}

fn contribution(layer: &Applied<'_>, shown: Layer, pointer: String) -> Contribution {
    let inner = pointer.strip_prefix("/spec").unwrap_or(&pointer);
    Contribution {
        layer: shown,
        kind: shown.kind(),
        name: layer.name.to_owned(),
        priority: layer.priority,
        revision: revision(layer.spec),
        value: layer.spec.pointer(inner).cloned().unwrap_or_default(),
        pointer,
    }
}
