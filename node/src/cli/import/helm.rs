//! A Helm repository's index to Apps and Releases.

use std::collections::BTreeMap;

use driftless_core::name::Kind;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::version::{Version, release_suffix};
use super::{Import, ImportError, text};
use crate::cli::yaml::{Mode, each_document};

const CHART_MEDIA_TYPE: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
const HELM_INDEX: &str = "index of a Helm repository";

/// One entry of the index, checked.
struct Release {
    version: Version,
    text: String,
    digest: String,
    created: Option<Timestamp>,
    deprecated: bool,
    description: Option<String>,
    artifacts: Vec<Value>,
}

pub(super) fn import(import: &mut Import<'_>, bytes: &[u8]) -> Result<(), ImportError> {
    let mut indexes = Vec::new();
    each_document(import.name, bytes, Mode::Lenient, &mut |document| indexes.push(document.value))?;
    for index in &indexes {
        let entries = index.get("entries").and_then(Value::as_object);
        let entries =
            entries.ok_or_else(|| import.not_that(HELM_INDEX, "it has no mapping named entries"))?;
        for (chart, versions) in entries {
            let versions = versions.as_array().map_or(&[][..], Vec::as_slice);
            chart_to_app(import, chart, versions);
        }
    }
    if indexes.is_empty() {
        return Err(import.not_that(HELM_INDEX, "it is empty"));
    }
    Ok(())
}

fn chart_to_app(import: &mut Import<'_>, chart: &str, versions: &[Value]) {
    if let Err(why) = import.check_name(Kind::App, chart) {
        let count = versions.len();
        import.refuse(count, format!("chart {chart}"), format!("{why}; {count} versions not imported"));
        return;
    }
    // A version is one Release for ever, so of several publications the first one counts, whatever their order.
    let mut releases: BTreeMap<String, Release> = BTreeMap::new();
    for entry in versions {
        let release = match read(import, chart, entry) {
            Ok(release) => release,
            Err((at, why)) => {
                import.refuse(1, at, why);
                continue;
            }
        };
        let Some(other) = releases.remove(&release.text) else {
            releases.insert(release.text.clone(), release);
            continue;
        };
        let (first, again) =
            if published(&release) < published(&other) { (release, other) } else { (other, release) };
        if first.digest == again.digest {
            import.report.repeated += 1;
        } else {
            let why = format!(
                "published again with other content ({}); a release never changes, the first one ({}) is imported",
                again.digest, first.digest
            );
            import.refuse(1, format!("chart {chart} {}", again.text), why);
        }
        releases.insert(first.text.clone(), first);
    }
    // Releases come before the App whose channels name them.
    for release in releases.values() {
        let name = release_name(chart, release);
        let mut spec = json!({
            "app": chart, "version": release.text, "digest": release.digest, "artifacts": release.artifacts,
        });
        if let Some(created) = release.created {
            spec["created"] = Value::from(created.to_string());
        }
        if release.deprecated {
            spec["deprecated"] = Value::Bool(true);
        }
        import.emit(Kind::Release, &name, Map::new(), vec![("spec", spec)]);
    }
    if !releases.is_empty() {
        emit_app(import, chart, &releases);
    }
}

/// stable = the newest version that is no prerelease; beta = the newest of all.
fn emit_app(import: &mut Import<'_>, chart: &str, releases: &BTreeMap<String, Release>) {
    // Versions that differ in build metadata alone are ordered by their text.
    let newest = |of: &dyn Fn(&Release) -> bool| {
        releases
            .values()
            .filter(|release| of(release))
            .max_by_key(|release| (&release.version, &release.text))
    };
    let mut channels = Map::new();
    if let Some(stable) = newest(&|release| !release.version.is_prerelease()) {
        channels.insert("stable".to_owned(), Value::from(stable.text.as_str()));
    }
    let mut spec = json!({});
    if let Some(beta) = newest(&|_| true) {
        channels.insert("beta".to_owned(), Value::from(beta.text.as_str()));
        if let Some(description) = &beta.description {
            spec["description"] = Value::from(description.as_str());
        }
    }
    spec["channels"] = Value::Object(channels);
    if let Some(repository) = &import.options.repository {
        spec["source"] = json!({"helm": repository});
    }
    import.emit(Kind::App, chart, Map::new(), vec![("spec", spec)]);
}

fn read(import: &Import<'_>, chart: &str, entry: &Value) -> Result<Release, (String, String)> {
    let version = text(&entry["version"]).unwrap_or_default();
    let fail = |why: String| (format!("chart {chart} {version}"), why);
    let parsed = Version::parse(&version).map_err(|error| fail(error.to_string()))?;
    let digest = text(&entry["digest"])
        .ok_or_else(|| fail("it has no digest, so its content cannot be checked".to_owned()))?;
    let hex = digest.strip_prefix("sha256:").unwrap_or(&digest).to_ascii_lowercase();
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(fail(format!("the digest {digest:?} is not 64 hexadecimal digits of SHA-256")));
    }
    let digest = format!("sha256:{hex}");
    let created = match text(&entry["created"]) {
        None => None,
        Some(created) => Some(
            created.parse().map_err(|_| fail(format!("created is {created:?}, not a time of RFC 3339")))?,
        ),
    };
    let urls = entry["urls"].as_array().map_or(&[][..], Vec::as_slice);
    let mut artifacts = Vec::with_capacity(urls.len());
    for url in urls {
        let url = text(url).ok_or_else(|| fail("one of its urls is not a text".to_owned()))?;
        let url = absolute(import, url).map_err(&fail)?;
        artifacts.push(json!({"mediaType": CHART_MEDIA_TYPE, "digest": digest, "url": url}));
    }
    if artifacts.is_empty() {
        return Err(fail("it has no urls".to_owned()));
    }
    let release = Release {
        version: parsed,
        digest,
        created,
        deprecated: entry["deprecated"] == true,
        description: text(&entry["description"]),
        artifacts,
        text: version.clone(),
    };
    import.check_name(Kind::Release, &release_name(chart, &release)).map_err(fail)?;
    Ok(release)
}

fn release_name(chart: &str, release: &Release) -> String {
    format!("{chart}.{}", release_suffix(&release.version, &release.text))
}

/// Publications without a time come last; the digest settles the rest.
fn published(release: &Release) -> (bool, Option<Timestamp>, &str) {
    (release.created.is_none(), release.created, &release.digest)
}

fn absolute(import: &Import<'_>, url: String) -> Result<String, String> {
    if url.contains("://") {
        return Ok(url);
    }
    match &import.options.repository {
        Some(repository) => {
            Ok(format!("{}/{}", repository.trim_end_matches('/'), url.trim_start_matches('/')))
        }
        None => Err(format!("its address {url:?} is relative; --repository URL tells where it starts")),
    }
}
