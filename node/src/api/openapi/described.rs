//! Fields that clients read and do not write: what nodes report, compute, and enrol. They are described for
//! people and never validated, because another version may write more.

use driftless_core::name::Kind;
use driftless_core::schema::shape::Field;
use driftless_core::schema::shape::Shape::{self, *};

/// The status of a kind as it is served; empty where nothing of it is described.
pub(super) fn status(kind: Kind) -> &'static [Field] {
    match kind {
        Kind::Site => SITE_STATUS,
        Kind::SiteStatus => REPORTED,
        Kind::Profile => PROFILE_STATUS,
        Kind::Machine => MACHINE_STATUS,
        _ => &[],
    }
}

/// The spec of a kind that only daemons and enrolment write.
pub(super) fn spec(kind: Kind) -> &'static [Field] {
    match kind {
        Kind::Hub => HUB,
        Kind::HubStatus => HUB_STATUS,
        Kind::Member => MEMBER,
        Kind::Revocation => REVOCATION,
        _ => &[],
    }
}

const CONDITIONS: Shape = List(&Fields(&[
    field("type", Text, "What it is about."),
    field("status", Word(&["True", "False", "Unknown"]), "Whether it is so; what nobody knows is Unknown."),
    field("reason", Text, "One word."),
    field("message", Text, "A sentence."),
]));

const HASH: Shape = Fields(&[field("configHash", Text, "BLAKE3 of values and apps as RFC 8785 JSON.")]);

const ACTIVE: Shape = Fields(&[
    field("configHash", Text, "BLAKE3 of values and apps as RFC 8785 JSON."),
    field("appliedAt", Text, "When its applier succeeded, RFC 3339."),
    field("profiles", List(&Open), "Name and revision of the profiles that it came from."),
]);

const REPORTED: &[Field] = &[
    field("active", ACTIVE, "What the site runs."),
    field("desired", HASH, "What it should run, as the site itself worked out."),
    field("hook", Open, "What the command after a change came to: outcome, exit code, output."),
    field("claims", Map(&Text), "Facts that the site reports of itself, which selectors match."),
    field("conditions", CONDITIONS, "Applied, Held, Inventory, NoProfile, ResolutionFailed."),
    field("node", Text, "The node that reported."),
];

const SITE_STATUS: &[Field] = &[
    field("active", ACTIVE, "What the site runs, as it says."),
    field("desired", HASH, "What it should run, as the answering node works out."),
    field("profiles", List(&Text), "The profiles that apply, lowest first."),
    field("overrides", List(&Text), "The overrides that apply, lowest first."),
    field(
        "counts",
        Fields(&[
            field("profiles", COUNT, "Profiles that apply."),
            field("overrides", COUNT, "Overrides that apply."),
            field("ambiguous", COUNT, "Paths to which objects of equal priority write different values."),
            field("denied", COUNT, "Writes of overrides that do not stand."),
        ]),
        "How many of each.",
    ),
    field(
        "presence",
        Fields(&[
            field(
                "phase",
                Word(&["Fresh", "Stale", "Unreachable", "Lost", "Unknown", "CutByOperator"]),
                "Fresh: heard in the last minute; Stale: in 5 minutes; Unreachable: in 24 hours.",
            ),
            field("lastSeen", Text, "When a node of the site was last heard, RFC 3339."),
            field("hub", Text, "The hub that says so."),
            field("asOf", Text, "As of when that is known, RFC 3339."),
        ]),
        "When the site was heard.",
    ),
    field("claims", Map(&Text), "Facts that the site reports of itself, which selectors match."),
    field("hook", Open, "What the command after a change came to, as the site says."),
    field("node", Text, "The node of the site that reported."),
    field(
        "conditions",
        CONDITIONS,
        "Resolved, Synced, Applied; and where they hold Ambiguous, Denied, Deprecated, NoProfile, Held, Inventory.",
    ),
];

const PROFILE_STATUS: &[Field] = &[
    field("revision", Text, "BLAKE3 of the spec, shortened; accepted in spec.revision."),
    field("matched", COUNT, "Sites that it applies to."),
    field("applied", COUNT, "Of these, sites that run what they should."),
    field("ambiguous", COUNT, "Sites where another of equal priority writes other values to a path of it."),
    field("denied", COUNT, "Sites where an override touches what it enforces."),
    field("failed", COUNT, "Sites that do not resolve, or could not apply what they should run."),
    field("stale", COUNT, "Sites that were not heard in the last minute."),
    field("conditions", CONDITIONS, "Matched, Applied, Ambiguous, Denied, Failed."),
];

const MACHINE_STATUS: &[Field] =
    &[field("conditions", CONDITIONS, "As the machine reports them; Ready is shown.")];

const COUNT: Shape = Integer(0, i64::MAX);

const HUB: &[Field] = &[
    field("key", Text, "The public key, in hex."),
    field("region", Text, "The region that it serves."),
    field("issuer", Boolean, "Whether it may enrol sites."),
];

const HUB_STATUS: &[Field] = &[
    field("addresses", List(&Text), "Where edges and hubs reach it."),
    field("api", Text, "The URL of its API."),
    field("version", Text, "The version that it runs."),
];

const MEMBER: &[Field] = &[
    field("key", Text, "The public key, in hex."),
    field("role", Text, "What the node is: edge."),
    field("node", Text, "The name of the node."),
];

const REVOCATION: &[Field] = &[
    field("key", Text, "The public key, in hex."),
    field(
        "heads",
        Map(&Map(&Integer(0, i64::MAX))),
        "By scope and boot, the last event of the key that stands; nothing stands without.",
    ),
];

const fn field(name: &'static str, shape: Shape, doc: &'static str) -> Field {
    Field { name, shape, required: false, doc }
}
