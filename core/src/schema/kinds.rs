//! The table of kinds: names for discovery, the collection each belongs to, and its fields.

use super::names::{check_dns_label, check_name, check_owned_name, check_site_name};
use super::shape::Shape::{self, *};
use super::shape::{Field, field, required};
use super::specs::{check_digest, check_duration, check_portion, check_time};

/// What API discovery and validation need to know of a kind.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// The kind as written in `kind:`.
    pub kind: &'static str,
    /// The resource name in URLs.
    pub plural: &'static str,
    /// The singular resource name.
    pub singular: &'static str,
    /// Short names for the command line.
    pub short_names: &'static [&'static str],
    /// The collection that it belongs to: profiles, inventory or catalog.
    pub collection: &'static str,
    /// The fields of the whole resource.
    pub fields: &'static [Field],
    /// The rule for `metadata.name`.
    pub name_rule: fn(&str) -> Result<(), String>,
}

/// Lists all kinds, in a fixed order.
pub fn kinds() -> &'static [Kind] {
    KINDS
}

/// Finds a kind by its name as written in `kind:`.
pub fn by_name(kind: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|entry| entry.kind == kind)
}

/// Kinds that the system keeps for itself: clients do not write them, so only names and limits are checked.
pub(super) const SYSTEM_KINDS: [&str; 5] = ["Hub", "HubStatus", "Member", "Revocation", "Setting"];

const KINDS: &[Kind] = &[
    Kind {
        kind: "Profile",
        plural: "profiles",
        singular: "profile",
        short_names: &["prof"],
        collection: "profiles",
        fields: &resource(required("spec", Fields(PROFILE), "What sites that match should run.")),
        name_rule: check_name,
    },
    Kind {
        kind: "Override",
        plural: "overrides",
        singular: "override",
        short_names: &["ovr"],
        collection: "profiles",
        fields: &resource(required("spec", Fields(OVERRIDE), "The exception.")),
        name_rule: check_name,
    },
    Kind {
        kind: "Rollout",
        plural: "rollouts",
        singular: "rollout",
        short_names: &["ro"],
        collection: "profiles",
        fields: &resource(required("spec", Fields(ROLLOUT), "What to move, where, and how fast.")),
        name_rule: check_name,
    },
    Kind {
        kind: "Site",
        plural: "sites",
        singular: "site",
        short_names: &["st"],
        collection: "inventory",
        fields: &resource(field("spec", Fields(SITE), "What operators say of the site.")),
        name_rule: check_site_name,
    },
    Kind {
        kind: "SiteStatus",
        plural: "sitestatuses",
        singular: "sitestatus",
        short_names: &[],
        collection: "inventory",
        fields: &resource(field("spec", Open, "Unused.")),
        name_rule: check_site_name,
    },
    Kind {
        kind: "Machine",
        plural: "machines",
        singular: "machine",
        short_names: &["mc"],
        collection: "inventory",
        fields: &resource(field("spec", Map(&Open), "What the machine reports of itself.")),
        name_rule: |name| check_owned_name(name, "site"),
    },
    Kind {
        kind: "DriftReport",
        plural: "driftreports",
        singular: "driftreport",
        short_names: &["drift"],
        collection: "inventory",
        fields: &resource(field("spec", Fields(DRIFT), "What is really there.")),
        name_rule: |name| check_owned_name(name, "site"),
    },
    Kind {
        kind: "App",
        plural: "apps",
        singular: "app",
        short_names: &[],
        collection: "catalog",
        fields: &resource(required("spec", Fields(APP), "Where it comes from, and its channels.")),
        name_rule: check_dns_label,
    },
    Kind {
        kind: "Release",
        plural: "releases",
        singular: "release",
        short_names: &["rel"],
        collection: "catalog",
        fields: &resource(required("spec", Fields(RELEASE), "One version, immutable.")),
        name_rule: |name| check_owned_name(name, "app"),
    },
];

const fn resource(spec: Field) -> [Field; 5] {
    [
        field("apiVersion", Text, "driftless.dev/v1"),
        field("kind", Text, "The kind."),
        field("metadata", Fields(METADATA), "Name, namespace, labels, annotations."),
        spec,
        field("status", Open, "What nodes report; ignored in what clients write."),
    ]
}

const METADATA: &[Field] = &[
    field("name", Checked(check_name), "The name; it alone decides the scope."),
    field("namespace", Checked(check_dns_label), "The tenant; `default` unless given."),
    field("labels", Labels, "What selectors match."),
    field("annotations", Map(&Text), "Notes that nothing selects by."),
    field("uid", Text, "Set by the server."),
    field("resourceVersion", Text, "Set by the server; a precondition when written."),
    field("generation", Open, "Set by the server."),
    field("creationTimestamp", Open, "Set by the server."),
    field("deletionTimestamp", Open, "Set by the server."),
    field("managedFields", Open, "Set by the server."),
    field("selfLink", Open, "Set by the server."),
];

const APP_ENTRIES: Shape = List(&Fields(&[
    required("app", Checked(check_dns_label), "The catalog's name of the app; the key of the list."),
    field("channel", Text, "The channel whose version to run."),
    field("version", Text, "A fixed version instead of a channel's."),
    field("$delete", Boolean, "true removes the app that a lower layer asked for."),
]));

const PROFILE: &[Field] = &[
    required("priority", Integer(0, 1000), "0 to 1000; higher wins."),
    field("lifecycle", Word(&["Draft", "Published", "Archived"]), "Only Published is selected; the default."),
    field("revision", Text, "The pinned revision: edits take effect when the pin moves."),
    required("selector", Selector, "Which sites it applies to."),
    field("variables", List(&Fields(VARIABLE)), "Declarations, shared by the namespace."),
    field("values", Tree, "The configuration tree."),
    field("listKeys", PathMap, "Paths of lists that merge by element, and the key of their elements."),
    field("enforced", Paths, "Paths that no override may change."),
    field("apps", APP_ENTRIES, "What to run; merges as a list keyed by app."),
];

const VARIABLE: &[Field] = &[
    required("name", Checked(check_variable_name), "The name, used as ${name}."),
    required("type", Word(&["string", "integer", "number", "boolean"]), "The type of its value."),
    field("default", Scalar, "The value where nothing else gives one."),
    field("min", Number, "The smallest value allowed."),
    field("max", Number, "The largest value allowed."),
    field("from", Text, "A fact of the site: site.name, site.region, site.labels.<key>, claims.<key>."),
    field("required", Boolean, "Fails the site where nothing gives a value."),
];

const OVERRIDE: &[Field] = &[
    field("priority", Integer(0, 1000), "Among overrides of the same layer; 0 unless given."),
    field("selector", Selector, "Which sites it applies to, for an override of many."),
    field("values", Tree, "What differs."),
    field("vars", Map(&Scalar), "Values of variables."),
    field("apps", APP_ENTRIES, "Apps that differ."),
    required("reason", Checked(check_not_blank), "Why this exception exists."),
    field("owner", Text, "Who answers for it."),
    field("expiresAt", Checked(check_time), "When it ends, RFC 3339."),
    field("permanent", Boolean, "true instead of expiresAt."),
    field("expired", Text, "The expiresAt that has passed, written by nodes."),
];

const SITE: &[Field] = &[
    field("region", Checked(check_dns_label), "Also visible as the label driftless.dev/region."),
    field(
        "fallbackRegions",
        List(&Checked(check_dns_label)),
        "Where to turn when the region cannot be reached, in this order; any region unless given.",
    ),
    field("vars", Map(&Scalar), "Values of variables."),
    field("hold", Fields(HOLD), "Freezes the active configuration."),
    field("localOverride", Fields(LOCAL_OVERRIDE), "What people at the site may change."),
    field("allowEmpty", Boolean, "Whether matching no profile empties the configuration."),
];

const HOLD: &[Field] = &[
    field("until", Checked(check_time), "When the hold ends, RFC 3339."),
    required("reason", Checked(check_not_blank), "Why."),
];

const LOCAL_OVERRIDE: &[Field] = &[
    required("allow", Boolean, "Whether a local override has effect."),
    field("maxTTL", Checked(check_duration), "How long it may last."),
    field("paths", Paths, "The paths it may change; none unless given."),
];

const APP: &[Field] = &[
    field("source", Map(&Text), "Where artifacts come from, as oci: registry/repository."),
    field("channels", Map(&Checked(check_not_blank)), "The version that each channel stands for."),
    field("description", Text, "One sentence for people."),
];

const RELEASE: &[Field] = &[
    required("app", Checked(check_dns_label), "The app that this is a release of."),
    required("version", Checked(check_not_blank), "The version."),
    required("digest", Checked(check_digest), "sha256:<64 hex digits>."),
    field("artifacts", List(&Fields(ARTIFACT)), "What it consists of."),
    field("yanked", Boolean, "Must not be run any more."),
    field("deprecated", Boolean, "Should not be chosen any more."),
    field("created", Checked(check_time), "When it was published, RFC 3339."),
];

const ARTIFACT: &[Field] = &[
    required("mediaType", Text, "The OCI media type."),
    required("digest", Checked(check_digest), "sha256:<64 hex digits>."),
    field("size", Integer(0, 1 << 53), "In bytes, where it is known; Helm's indexes do not tell it."),
    field("url", Checked(check_not_blank), "Where it is fetched, if not from the source of the app."),
];

const ROLLOUT: &[Field] = &[
    required("subject", Fields(SUBJECT), "What moves."),
    required("coordinator", Checked(check_name), "The hub that moves it."),
    field("selector", Selector, "The sites it may touch."),
    field("waves", List(&Fields(WAVE)), "In order."),
    field("budget", Map(&Portion), "How many failures stop it."),
    field("offlinePolicy", Word(&["SkipAndCatchUp", "Wait"]), "Offline never counts as failed."),
    field("onFailure", Word(&["Pause", "Rollback"]), "What a spent budget does."),
    field("state", Word(&["Run", "Pause", "Abort"]), "What people want it to do."),
    field("previousCoordinator", Checked(check_name), "The hub that a hand-over takes it from."),
];

/// A count, or a percentage as text.
#[expect(non_upper_case_globals, reason = "reads as the other shapes in the tables")]
const Portion: Shape = Value(check_portion);

const SUBJECT: &[Field] = &[
    required("kind", Word(&["App", "Profile"]), "App or Profile."),
    required("name", Checked(check_name), "Its name."),
    field("channel", Text, "The channel that moves, for an App."),
    field("to", Text, "The version to move to, for an App."),
    field("toRevision", Text, "The revision to move to, for a Profile."),
];

const WAVE: &[Field] = &[
    required("name", Checked(check_dns_label), "The name of the wave."),
    field("selector", Selector, "Its sites."),
    field("matchRest", Boolean, "All sites that no earlier wave took."),
    field("maxConcurrent", Portion, "How many sites at a time."),
    field("soak", Checked(check_duration), "How long to watch before the next wave."),
    field("approval", Word(&["Manual", "Automatic"]), "Whether a person starts the next wave."),
];

const DRIFT: &[Field] = &[
    field("state", Word(&["Compliant", "NonCompliant", "Pending", "Unknown"]), "The verdict."),
    field("mode", Word(&["Inform", "Enforce", "Ignore"]), "What is done about it."),
    field("desired", Text, "The hash of the desired configuration."),
    field("observed", Text, "The hash of what was found."),
    field("firstObserved", Checked(check_time), "When it was first seen."),
    field("lastObserved", Checked(check_time), "When it was last seen."),
    field("items", List(&Open), "Path, desired and observed of each difference."),
    field("total", Integer(0, i64::MAX), "How many differences there are."),
    field("truncated", Boolean, "Whether items leaves some out."),
    field("ignore", Paths, "Paths that are not compared."),
];

fn check_variable_name(name: &str) -> Result<(), String> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let rest = bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if first && rest && name.len() <= 63 {
        return Ok(());
    }
    Err(format!("{name:?} must be letters, digits and '_', not starting with a digit, at most 63"))
}

fn check_not_blank(text: &str) -> Result<(), String> {
    if text.trim().is_empty() { Err("must not be empty".into()) } else { Ok(()) }
}
