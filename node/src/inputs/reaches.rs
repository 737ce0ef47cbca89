//! Which sites a change of a namespace's objects may matter to.

use driftless_core::name::{Document, Kind};
use driftless_core::resolve::{Inputs, Reach, Subject};

use super::NamespaceInputs;

/// The sites that some objects may matter to, as they were and as they are.
#[derive(Debug, Default)]
pub struct Reaches<'a> {
    is_every: bool,
    some: Vec<Reach<'a>>,
}

impl<'a> Reaches<'a> {
    /// Reads the selectors of objects, before and after they changed.
    pub fn of(before: &'a NamespaceInputs, after: &'a NamespaceInputs, objects: &'a [Document]) -> Self {
        let mut reaches = Self::default();
        for document in objects {
            for spec in [before, after].into_iter().filter_map(|inputs| inputs.spec(document)) {
                match document.kind() {
                    Kind::Profile => reaches.some.push(Reach::of_profile(spec)),
                    Kind::Override => reaches.some.push(Reach::of_override(document.name(), spec)),
                    // Whoever runs the app, which may be anybody.
                    Kind::App | Kind::Release => reaches.is_every = true,
                    _ => {}
                }
            }
        }
        reaches
    }

    /// Whether they may matter to a site; if not, it resolves the same before and after.
    pub fn include(&self, site: &Inputs<'_>) -> bool {
        if self.is_every || self.some.is_empty() {
            return self.is_every;
        }
        // To a site that cannot be read everything may matter.
        let subject = Subject::of(site);
        subject.as_ref().is_none_or(|subject| self.some.iter().any(|reach| reach.includes(subject)))
    }
}
