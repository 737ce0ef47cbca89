//! Canonical JSON: one byte string for each JSON value, as RFC 8785 (JCS) defines it.
//!
//! Hashes of configuration and revisions of specs are hashes of these bytes, so two replicas that hold
//! the same value print the same hash. Keys are ordered by their UTF-16 code units and numbers are
//! written as ECMAScript writes them. This module owns the encoding alone; it never parses.

use serde_json::{Map, Number, Value};
use thiserror::Error;

/// The largest integer magnitude that every JSON reader represents exactly, 2^53.
pub const INTEGER_MAX: u64 = 1 << 53;

/// The deepest nesting that is encoded, in levels; far above what the schema admits.
pub const NESTING_MAX: usize = 256;

/// Why a value has no canonical form. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CanonicalError {
    /// An integer that an IEEE 754 double cannot tell from its neighbours. Nothing was written.
    #[error("integer {0} is outside +-2^53; write it as a string")]
    IntegerOutOfRange(String),
    /// Nesting beyond [`NESTING_MAX`]. Nothing was written.
    #[error("nested deeper than {NESTING_MAX} levels")]
    TooDeep,
}

/// Encodes a value as RFC 8785 JSON.
///
/// Integers of magnitude above 2^53 are refused rather than rounded. Linear in the size of the value,
/// plus a sort of each object's keys.
pub fn canonical_json(value: &Value) -> Result<Vec<u8>, CanonicalError> {
    let mut out = Vec::with_capacity(256);
    write_value(&mut out, value, 0)?;
    Ok(out)
}

/// Computes the BLAKE3 hash of the canonical form.
pub fn hash(value: &Value) -> Result<[u8; 32], CanonicalError> {
    Ok(*blake3::hash(&canonical_json(value)?).as_bytes())
}

/// Encodes an object as [`canonical_json`] does, as if it did not have the key `without`.
pub(crate) fn canonical_object_without(
    object: &Map<String, Value>,
    without: &str,
) -> Result<Vec<u8>, CanonicalError> {
    let mut out = Vec::with_capacity(256);
    write_object(&mut out, object.iter().filter(|(key, _)| *key != without), 0)?;
    Ok(out)
}

fn write_value(out: &mut Vec<u8>, value: &Value, depth: usize) -> Result<(), CanonicalError> {
    if depth > NESTING_MAX {
        return Err(CanonicalError::TooDeep);
    }
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => write_number(out, number)?,
        Value::String(text) => write_string(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(out, item, depth + 1)?;
            }
            out.push(b']');
        }
        Value::Object(object) => write_object(out, object.iter(), depth)?,
    }
    Ok(())
}

fn write_object<'a>(
    out: &mut Vec<u8>,
    entries: impl Iterator<Item = (&'a String, &'a Value)>,
    depth: usize,
) -> Result<(), CanonicalError> {
    let mut entries: Vec<(&String, &Value)> = entries.collect();
    entries.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    out.push(b'{');
    for (index, (key, value)) in entries.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(out, key);
        out.push(b':');
        write_value(out, value, depth + 1)?;
    }
    out.push(b'}');
    Ok(())
}

fn write_number(out: &mut Vec<u8>, number: &Number) -> Result<(), CanonicalError> {
    let integer = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
    match (integer, number.as_f64()) {
        (Some(magnitude), _) if magnitude <= INTEGER_MAX => {
            out.extend_from_slice(number.to_string().as_bytes());
            Ok(())
        }
        (None, Some(float)) if float.is_finite() => {
            out.extend_from_slice(ryu_js::Buffer::new().format_finite(float).as_bytes());
            Ok(())
        }
        _ => Err(CanonicalError::IntegerOutOfRange(number.to_string())),
    }
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for &byte in text.as_bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x09 => out.extend_from_slice(b"\\t"),
            0x0a => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            0x0d => out.extend_from_slice(b"\\r"),
            0x00..=0x1f => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde_json::json;

    #[test]
    fn the_example_of_rfc_8785_section_3_2_3_comes_out_byte_for_byte() {
        let input = r#"{
            "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
            "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
            "literals": [null, true, false]
        }"#;
        let expected = "{\"literals\":[null,true,false],\
            \"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
            \"string\":\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
        assert_eq!(text(input), expected);
    }

    #[test]
    fn keys_are_ordered_by_utf16_code_units_as_in_rfc_8785_section_3_2_3() {
        let input = r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh",
            "1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#;
        let out = text(input);
        let order = ["Carriage Return", "One", "Control", "Latin Small", "Euro Sign", "Emoji", "Hebrew"];
        let places: Vec<usize> = order.iter().map(|word| out.find(word).unwrap()).collect();
        assert!(places.is_sorted(), "{out}");
    }

    #[test]
    fn numbers_follow_the_samples_of_rfc_8785_appendix_b() {
        let samples: [(u64, &str); 24] = [
            (0x0000_0000_0000_0000, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0xc340_0000_0000_0000, "-9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0x41b3_de43_5555_5554, "333333333.33333325"),
            (0x41b3_de43_5555_5555, "333333333.3333333"),
            (0x41b3_de43_5555_5556, "333333333.3333334"),
            (0x41b3_de43_5555_5557, "333333333.33333343"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        ];
        for (bits, expected) in samples {
            let value = json!(f64::from_bits(bits));
            assert_eq!(canonical_json(&value).unwrap(), expected.as_bytes(), "{bits:016x}");
        }
    }

    #[test]
    fn integers_and_the_doubles_equal_to_them_have_one_form() {
        assert_eq!(text("[1.0, 1, -0, 0.0, 1e2]"), "[1,1,0,0,100]");
    }

    #[test]
    fn integers_beyond_what_a_double_holds_are_refused() {
        assert_eq!(text("[9007199254740992,-9007199254740992]"), "[9007199254740992,-9007199254740992]");
        for bad in ["9007199254740993", "-9007199254740993", "18446744073709551615", "-9223372036854775808"] {
            let value: Value = serde_json::from_str(bad).unwrap();
            assert_eq!(canonical_json(&value), Err(CanonicalError::IntegerOutOfRange(bad.into())));
        }
    }

    #[test]
    fn printing_and_reading_back_never_changes_a_double() {
        for bits in
            [0x41b3_de43_5555_5555_u64, 0x44b5_2d02_c7e1_4af6, 0x3fb9_9999_9999_999a, 0x0000_0000_0000_0001]
        {
            let value = json!(f64::from_bits(bits));
            let read: Value = serde_json::from_slice(&canonical_json(&value).unwrap()).unwrap();
            assert_eq!(read.as_f64().unwrap().to_bits(), bits, "{value}");
        }
    }

    #[test]
    fn nesting_beyond_the_limit_is_refused_and_does_not_overflow() {
        let mut value = Value::Null;
        for _ in 0..=NESTING_MAX {
            value = json!([value]);
        }
        assert_eq!(canonical_json(&value), Err(CanonicalError::TooDeep));
    }

    #[test]
    fn the_hash_is_blake3_of_the_canonical_bytes() {
        let a: Value = serde_json::from_str(r#"{"b":1,"a":[1.50]}"#).unwrap();
        let expected = blake3::hash(br#"{"a":[1.5],"b":1}"#);
        assert_eq!(hash(&a).unwrap(), *expected.as_bytes());
    }

    fn text(json: &str) -> String {
        String::from_utf8(canonical_json(&serde_json::from_str(json).unwrap()).unwrap()).unwrap()
    }
}
