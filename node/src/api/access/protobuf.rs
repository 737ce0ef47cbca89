//! As much of Kubernetes' protobuf as a question of `kubectl auth can-i` needs.
//!
//! For its own kinds kubectl sends protobuf and nothing else; it takes JSON for an answer. The numbers are those of
//! `k8s.io/api/authorization/v1/generated.proto` and `k8s.io/apimachinery/pkg/runtime/generated.proto`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The media type.
pub(super) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// What stands before every object: four bytes, then `runtime.Unknown` around it.
const MAGIC: &[u8] = b"k8s\0";

/// A `SelfSubjectAccessReview` as its JSON form has it; `None` if the bytes are none.
pub(super) fn access_review(bytes: &[u8]) -> Option<Value> {
    let unknown = Message::read(bytes.strip_prefix(MAGIC)?)?;
    let spec = unknown.message(2)?.message(2)?;
    let mut review = json!({
        "kind": "SelfSubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "metadata": {"creationTimestamp": Value::Null},
        "spec": {},
    });
    if spec.0.contains_key(&1) {
        let wish = spec.message(1)?;
        for (number, name) in
            [(1, "namespace"), (2, "verb"), (3, "group"), (4, "version"), (5, "resource"), (7, "name")]
        {
            review["spec"]["resourceAttributes"][name] = json!(wish.text(number)?);
        }
    }
    if spec.0.contains_key(&2) {
        let wish = spec.message(2)?;
        for (number, name) in [(1, "path"), (2, "verb")] {
            review["spec"]["nonResourceAttributes"][name] = json!(wish.text(number)?);
        }
    }
    Some(review)
}

/// The fields of a message that hold text or messages, by number; of each the last one counts.
struct Message<'a>(BTreeMap<u64, &'a [u8]>);

impl<'a> Message<'a> {
    fn read(mut bytes: &'a [u8]) -> Option<Self> {
        let mut fields = BTreeMap::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes)?;
            match key & 7 {
                0 => drop(varint(&mut bytes)?),
                1 => bytes = bytes.get(8..)?,
                2 => {
                    let length = usize::try_from(varint(&mut bytes)?).ok()?;
                    let (value, rest) = bytes.split_at_checked(length)?;
                    fields.insert(key >> 3, value);
                    bytes = rest;
                }
                5 => bytes = bytes.get(4..)?,
                _ => return None,
            }
        }
        Some(Self(fields))
    }

    /// What is left out is empty.
    fn bytes(&self, number: u64) -> &'a [u8] {
        self.0.get(&number).copied().unwrap_or_default()
    }

    fn message(&self, number: u64) -> Option<Self> {
        Self::read(self.bytes(number))
    }

    fn text(&self, number: u64) -> Option<&'a str> {
        std::str::from_utf8(self.bytes(number)).ok()
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// A field that holds bytes; short enough for lengths of one byte.
    fn field(number: u8, value: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(value.len()).unwrap()], value].concat()
    }

    fn review(spec: &[u8]) -> Vec<u8> {
        let kind =
            field(1, &[field(1, b"authorization.k8s.io/v1"), field(2, b"SelfSubjectAccessReview")].concat());
        let object = [field(1, b""), field(2, spec), field(3, &[8, 0])].concat();
        [MAGIC, &kind, &field(2, &object), &field(3, b""), &field(4, b"")].concat()
    }

    #[test]
    fn a_question_is_read_as_kubectl_writes_it() {
        let wish =
            [field(1, b"acme"), field(2, b"create"), field(3, b"driftless.dev"), field(5, b"profiles")];
        let read = access_review(&review(&field(1, &wish.concat()))).unwrap();
        assert_eq!(
            read["spec"],
            json!({"resourceAttributes": {
                "namespace": "acme", "verb": "create", "group": "driftless.dev", "version": "",
                "resource": "profiles", "name": "",
            }})
        );
        let path =
            access_review(&review(&field(2, &[field(1, b"/metrics"), field(2, b"get")].concat()))).unwrap();
        assert_eq!(path["spec"], json!({"nonResourceAttributes": {"path": "/metrics", "verb": "get"}}));
        for wrong in [&b""[..], b"{}", b"k8s\0\xff", b"k8s\0\x12\x7f", b"k8s\0\x13"] {
            assert_eq!(access_review(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(bytes: Vec<u8>) {
            access_review(&bytes);
            access_review(&[MAGIC, &bytes].concat());
            access_review(&review(&bytes[..bytes.len().min(60)]));
        }
    }
}
