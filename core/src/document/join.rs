//! Fields whose concurrent values have a join: an order among their values decides, not the stamps.
//!
//! The join takes the place of a conflict: whatever ranks lower is not shown and not listed, and stands
//! in the history. It joins what was written without knowledge of each other; a later write that has seen
//! the result sets whatever it likes, also something that ranks lower.

use super::engine::Standing;
use crate::name::Kind;

/// The register of a kind, and its values by ascending rank. Anything else, also absence, ranks below.
const JOINS: [(Kind, &str, &[&str]); 2] = [
    // Whoever stops a rollout is heard, whatever others wanted of it meanwhile.
    (Kind::Rollout, "/spec/state", &["\"Run\"", "\"Pause\"", "\"Abort\""]),
    // What one side knows to be unfit to run stays so.
    (Kind::Release, "/spec/yanked", &["false", "true"]),
];

/// Leaves of each joined register the values of the highest rank.
pub(super) fn settle(kind: Kind, standing: &mut Standing) {
    for (_, path, ranks) in JOINS.iter().filter(|(joined, ..)| *joined == kind) {
        let Some(values) = standing.values.get_mut(*path) else { continue };
        let rank = |value: &str| ranks.iter().position(|ranked| *ranked == value.trim());
        let highest = values.iter().map(|stamped| rank(&stamped.value)).max().flatten();
        if highest.is_some() {
            values.retain(|stamped| rank(&stamped.value) == highest);
            standing.removals.remove(*path);
        }
    }
}
