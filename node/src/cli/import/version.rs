//! Versions of charts: their order, and the names that they give to Releases.

use std::cmp::Ordering;

/// A semantic version (semver.org 2.0.0), with Helm's leniency: a leading `v`, and missing minor or patch numbers.
///
/// Equality and order follow precedence, in which build metadata has no part.
#[derive(Clone, Debug)]
pub struct Version {
    numbers: [u64; 3],
    prerelease: Vec<Identifier>,
}

/// Numbers precede texts, as the specification says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Text(String),
}

/// Why a text is not a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a semantic version like 2.4.0 or 2.4.0-beta.1: {why}")]
pub struct VersionError {
    text: String,
    why: &'static str,
}

impl Version {
    /// Reads a version.
    pub fn parse(text: &str) -> Result<Self, VersionError> {
        let wrong = |why| VersionError { text: text.chars().take(80).collect(), why };
        let bare = text.strip_prefix('v').unwrap_or(text);
        let (bare, build) = bare.split_once('+').map_or((bare, None), |(bare, build)| (bare, Some(build)));
        let (core, prerelease) = bare.split_once('-').map_or((bare, None), |(core, pre)| (core, Some(pre)));
        let mut numbers = [0; 3];
        for (at, part) in core.split('.').enumerate() {
            let number = numbers.get_mut(at).ok_or_else(|| wrong("more than three numbers"))?;
            if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(wrong("a part that is no number"));
            }
            *number = part.parse().map_err(|_| wrong("a number beyond 64 bits"))?;
        }
        let identifiers_ok = |part: &str| {
            part.split('.').all(|id| {
                !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            })
        };
        if !prerelease.is_none_or(identifiers_ok) || !build.is_none_or(identifiers_ok) {
            return Err(wrong("what follows - or + takes letters, digits, dashes and dots"));
        }
        let prerelease = prerelease.into_iter().flat_map(|pre| pre.split('.')).map(identifier).collect();
        Ok(Self { numbers, prerelease })
    }

    /// Whether it is a prerelease, which `stable` never follows.
    pub fn is_prerelease(&self) -> bool {
        !self.prerelease.is_empty()
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        // The release itself comes after all its prereleases.
        let prerelease = match (self.is_prerelease(), other.is_prerelease()) {
            (true, true) => self.prerelease.cmp(&other.prerelease),
            (a, b) => b.cmp(&a),
        };
        self.numbers.cmp(&other.numbers).then(prerelease)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

/// The part behind the dot in a Release's name, `<app>.<n>`: the version itself where DNS allows it.
///
/// Lower-case letters and digits stand for themselves, and so does a dash or dot between two characters that are
/// neither. Every other character becomes `x--` and its two hexadecimal digits: `1.0.0+Rc` is
/// `1.0.0x--2bx--52c`. Since `--` comes from nowhere else, different versions have different names, and a name
/// depends on its version alone. One that gets longer than DNS allows is refused where the Release is made.
pub fn release_suffix(version: &Version, text: &str) -> String {
    debug_assert!(Version::parse(text).as_ref() == Ok(version), "the text is the version's");
    let bytes = text.as_bytes();
    let joins = |byte: Option<&u8>| byte.is_none_or(|byte| matches!(byte, b'-' | b'.'));
    let mut name = String::with_capacity(text.len());
    for (at, byte) in bytes.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| bytes.get(at));
        let plain = match byte {
            b'a'..=b'z' | b'0'..=b'9' => true,
            b'-' | b'.' => !joins(before) && !joins(bytes.get(at + 1)),
            _ => false,
        };
        if plain {
            name.push(char::from(*byte));
        } else {
            name.push_str(&format!("x--{byte:02x}"));
        }
    }
    name
}

fn identifier(text: &str) -> Identifier {
    match text.parse() {
        Ok(number) if text.bytes().all(|byte| byte.is_ascii_digit()) => Identifier::Number(number),
        _ => Identifier::Text(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn suffix(text: &str) -> String {
        release_suffix(&Version::parse(text).unwrap(), text)
    }

    #[test]
    fn precedence_is_that_of_the_specification() {
        let ascending = [
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "v1.0.1",
            "1.2",
            "1.10.0",
            "2",
        ];
        let versions: Vec<_> = ascending.iter().map(|text| Version::parse(text).unwrap()).collect();
        assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
        assert_eq!(Version::parse("1.0.0+a").unwrap(), Version::parse("v1+b").unwrap());
        for text in [
            "",
            "v",
            "latest",
            "1.2.3.4",
            "1..2",
            "1.0.0-",
            "1.0.0-a..b",
            "1.0.0-ä",
            "1.0 0",
            "99999999999999999999.0.0",
            "+1",
        ] {
            assert!(Version::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_the_version_where_dns_allows() {
        assert_eq!(suffix("2.4.0-beta.1"), "2.4.0-beta.1");
        assert_eq!(suffix("v3.31.4-build2026"), "v3.31.4-build2026");
        assert_eq!(suffix("1.0.0+Rc"), "1.0.0x--2bx--52c");
        assert_eq!(suffix("1.0.0--"), "1.0.0x--2dx--2d");
        assert_eq!(suffix("1.0.0-a-.b"), "1.0.0-ax--2dx--2eb");
    }

    proptest! {
        #[test]
        fn names_are_dns_names_and_differ_where_versions_differ(
            a in "v?[0-9]{1,2}(\\.[0-9]){0,2}(-[xX0-2A-]{1,4}(\\.[xX2b-]{1,4}){0,2})?(\\+[xX0b.2-]{1,5})?",
            b in "v?[0-9]{1,2}(\\.[0-9]){0,2}(-[xX0-2A-]{1,4}(\\.[xX2b-]{1,4}){0,2})?(\\+[xX0b.2-]{1,5})?",
        ) {
            let (Ok(first), Ok(second)) = (Version::parse(&a), Version::parse(&b)) else { return Ok(()) };
            let (first, second) = (release_suffix(&first, &a), release_suffix(&second, &b));
            prop_assert_eq!(a == b, first == second);
            let document = driftless_core::name::Document::new(
                driftless_core::name::Kind::Release, "default", &format!("pos.{first}"));
            // A label too long for DNS is refused by name; every other is a name.
            let too_long = first.split('.').any(|label| label.len() > driftless_core::name::NAME_LABEL_BYTES_MAX);
            prop_assert_eq!(document.is_ok(), !too_long, "{}", first);
            prop_assert_eq!(restored(&first), a);
        }
    }

    /// Undoes the rule, which proves that nothing is lost.
    fn restored(name: &str) -> String {
        let mut parts = name.split("--");
        let mut text = parts.next().unwrap().to_owned();
        for part in parts {
            assert_eq!(text.pop(), Some('x'));
            text.push(char::from(u8::from_str_radix(&part[..2], 16).unwrap()));
            text.push_str(&part[2..]);
        }
        text
    }
}
