//! From YAML to JSON and back, with the keys in the same order.
//!
//! kubectl reads YAML 1.1: `no` is a boolean, `0755` an octal number, and `<<` merges a mapping.

use anyhow::Result;
use serde::de::Error as _;
use serde_json::{Deserializer, Serializer};
use serde_saphyr::{
    DuplicateKeyPolicy, NonFiniteFloatPolicy, Options, Serializer as YamlSerializer, alias_limits, budget,
    options, ser_options,
};

/// Maximum nesting depth: that of the JSON index.
const DEEPEST: usize = 128;
/// Maximum number of values that aliases repeat, as in kubectl's reader.
const MOST_REPEATED: usize = 400_000;
/// Maximum number of values, those repeated by aliases included. A List of all pods of a large cluster has a million.
const MOST_VALUES: usize = 20_000_000;

/// Converts one YAML document to JSON text; returns `None` if it is empty.
///
/// Repeated keys stay: for kubectl, the last counts.
///
/// # Errors
/// The text is not YAML, has more than one document, or exceeds a bound.
pub fn yaml_to_json(yaml: &str) -> Result<Option<String>> {
    let mut json = Vec::new();
    serde_saphyr::with_deserializer_from_str_with_options(yaml, reading(), |yaml| {
        serde_transcode::transcode(yaml, &mut Serializer::new(&mut json)).map_err(serde_saphyr::Error::custom)
    })?;
    let json = String::from_utf8(json)?;
    Ok((json != "null").then_some(json))
}

/// Converts JSON text to a YAML document that kubectl and readers of YAML 1.2 take for the same.
///
/// # Errors
/// The text is not JSON.
pub fn json_to_yaml(json: &str) -> Result<String> {
    let mut yaml = String::new();
    // kubectl's reader takes a tab at the start of a block of text for indentation.
    let begins_with_tab = json.split('"').any(|text| text.trim_start_matches("\\n").starts_with("\\t"));
    let options = ser_options! {
        prefer_block_scalars: !begins_with_tab,
        // Folded text is hard to compare line by line.
        folded_wrap_chars: usize::MAX,
        min_fold_chars: usize::MAX,
    };
    let mut writer = YamlSerializer::with_options(&mut yaml, options)?;
    serde_transcode::transcode(&mut Deserializer::from_str(json), &mut writer)?;
    Ok(yaml)
}

fn reading() -> Options {
    options! {
        alias_limits: alias_limits! { max_total_replayed_events: MOST_REPEATED },
        legacy_octal_numbers: true,
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        // For JSON, there is no such number, and the library does not keep its text.
        non_finite_float_policy: NonFiniteFloatPolicy::Reject,
        with_snippet: false,
        budget: budget! {
            max_depth: DEEPEST,
            max_nodes: MOST_VALUES,
            max_events: 2 * MOST_VALUES,
            max_total_scalar_bytes: usize::MAX,
            // One anchor may be used by every container of a file.
            enforce_alias_anchor_ratio: false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{json_to_yaml, yaml_to_json};

    /// What kubectl's reader, sigs.k8s.io/yaml 1.6, makes of the same texts.
    #[test]
    fn yaml_is_read_as_kubectl_reads_it() {
        for (yaml, json) in [
            (
                "a: no\nb: 'no'\nc: Off\nd: y\ne: \"on\"\n",
                r#"{"a":false,"b":"no","c":false,"d":true,"e":"on"}"#,
            ),
            ("{mode: 0755, 'mode': 0400}", r#"{"mode":493,"mode":256}"#),
            (
                "mode : 0644 # x >\no: 0o17\nx: 0x1F\nm: -0755\nu: 1_000\nz: 0\n",
                r#"{"mode":420,"o":15,"x":31,"m":-493,"u":1000,"z":0}"#,
            ),
            (
                "s: | # text\n  mode: 0755\nt: |2\n   mode: 0660\nu: >1\n  a\n",
                r#"{"s":"mode: 0755\n","t":" mode: 0660\n","u":" a\n"}"#,
            ),
            ("a: &a {p: 1, q: 2}\nb: {<<: *a, p: 3}\n", r#"{"a":{"p":1,"q":2},"b":{"p":3,"q":2}}"#),
            ("b: {<<: [{p: 1}, {p: 2, q: 3}]}\n", r#"{"b":{"p":1,"q":3}}"#),
            ("a: 190:20:30\nb: 2026-01-01\n", r#"{"a":"190:20:30","b":"2026-01-01"}"#),
            ("a: !!binary aGVsbG8=\nb: !!str 5\nc: !other x\n", r#"{"a":"hello","b":"5","c":"x"}"#),
            ("n: 1\n2: 3\n", r#"{"false":1,"2":3}"#),
            ("a: 18446744073709551615\nb: ~\nc:\n", r#"{"a":18446744073709551615,"b":null,"c":null}"#),
        ] {
            assert_eq!(yaml_to_json(yaml).unwrap().as_deref(), Some(json), "{yaml}");
        }
    }

    #[test]
    fn a_document_without_content_is_empty() {
        for yaml in ["", "# comment\n", "null\n"] {
            assert_eq!(yaml_to_json(yaml).unwrap(), None);
        }
    }

    #[test]
    fn one_anchor_serves_many_containers_but_aliases_of_aliases_have_a_bound() {
        let containers = "- {<<: *base}\n".repeat(2_000);
        assert!(yaml_to_json(&format!("a: &base {{name: c}}\nb:\n{containers}")).is_ok());
        let level = |level: usize| {
            format!("a{}: &a{} [{}]\n", level + 1, level + 1, format!("*a{level},").repeat(10))
        };
        let bomb: String = (0..10).map(level).collect();
        assert!(yaml_to_json(&format!("a0: &a0 x\n{bomb}")).is_err());
        assert!(yaml_to_json(&"[".repeat(200_000)).is_err());
    }

    #[test]
    fn what_readers_would_take_for_something_else_is_quoted() {
        let json =
            r#"{"on":"off","a":["Yes","1_000","0400","2026-01-01","v1","it's on",true,5,"1:20","a\nb\n"]}"#;
        let yaml = json_to_yaml(json).unwrap();
        let expected = "\"on\": \"off\"\na:\n- \"Yes\"\n- \"1_000\"\n- \"0400\"\n- \"2026-01-01\"\n- v1\n- it's on\n- true\n- 5\n\
             - \"1:20\"\n- |\n  a\n  b\n";
        assert_eq!(yaml, expected);
        assert_eq!(yaml_to_json(&yaml).unwrap().as_deref(), Some(json));
    }

    #[test]
    fn a_text_that_begins_with_a_tab_is_no_block() {
        let json = r#"{"a":"\n\tb\n","c":"d\n\te\n"}"#;
        assert_eq!(json_to_yaml(json).unwrap(), "a: \"\\n\\tb\\n\"\nc: \"d\\n\\te\\n\"\n");
        assert!(json_to_yaml(r#"{"c":"d\n\te\n"}"#).unwrap().starts_with("c: |\n"));
    }

    #[test]
    fn no_text_changes_on_the_way_through_yaml() {
        for text in [
            "",
            " ",
            "\n",
            "\n\n",
            " a",
            "a ",
            "a\n b",
            "a\n\n\n",
            "\ta",
            "a\tb",
            "a\r\nb",
            "\u{85}",
            "\u{7f}",
            "\u{feff}a",
            "\u{1f600}",
            "\u{2028}x",
            "#a",
            "a #b",
            "a: b",
            "- a",
            "? a",
            "{",
            "}",
            "[",
            "&a",
            "*a",
            "!a",
            "%a",
            "@a",
            "`a",
            "|",
            ">",
            "'",
            "\"",
            "\\",
            "---",
            "...",
            "<<",
            "=",
            "~",
            "null",
            ".inf",
            "0o7",
            "0x",
            "1e3",
            "1.",
            "+1",
            "-",
            "  a\nb",
        ] {
            let json = serde_json::json!({"a": text, "b": [text, {"c": text}]}).to_string();
            let yaml = json_to_yaml(&json).unwrap();
            assert_eq!(yaml_to_json(&yaml).unwrap().as_deref(), Some(&*json), "{yaml}");
        }
    }
}
