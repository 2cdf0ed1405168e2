//! Forms of text: names, URLs, identifiers.

/// 8-4-4-4-12 hexadecimal digits.
pub(crate) fn is_guid(text: &str) -> bool {
    let is_hyphen = |position| matches!(position, 8 | 13 | 18 | 23);
    let is_right = |(position, byte): (usize, u8)| {
        if is_hyphen(position) { byte == b'-' } else { byte.is_ascii_hexdigit() }
    };
    text.len() == 36 && text.bytes().enumerate().all(is_right)
}

/// At least two DNS labels.
pub(super) fn is_domain_name(text: &str) -> bool {
    text.contains('.') && is_host_name(text)
}

pub(super) fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// The form of names of namespaces (RFC 1123).
pub(crate) fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_dns_label_of_any_length(text)
}

fn is_dns_label_of_any_length(text: &str) -> bool {
    let is_alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.as_bytes().first().is_some_and(is_alphanumeric)
        && text.as_bytes().last().is_some_and(is_alphanumeric)
        && text.as_bytes().iter().all(|byte| is_alphanumeric(byte) || *byte == b'-')
}

/// The form of names of `ConfigMap`s and service accounts (RFC 1123, as Kubernetes has it: without a bound for each label).
pub(crate) fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label_of_any_length)
}

pub(super) fn is_https_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_at_checked("https://".len()) else { return false };
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !authority.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_ip6_host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).is_some_and(is_ip6);
    scheme.eq_ignore_ascii_case("https://")
        && (is_host_name(host) || is_ip6_host)
        && port.is_none_or(is_port)
        && !rest.chars().any(|c| {
            c.is_whitespace() || c.is_control() || matches!(c, '?' | '#' | '@' | '\\' | '"' | '<' | '>')
        })
}

/// Digits only: the number's parser would take a sign.
fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port != 0)
}

/// The characters of an IPv6 address; the standard library's parser would be a noticeable part of the wasm.
fn is_ip6(text: &str) -> bool {
    text.bytes().filter(|b| *b == b':').count() >= 2
        && text.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'))
}

/// What may follow `use-` in the name part of an annotation key, which has at most 63 characters.
pub(super) fn is_annotation_suffix(text: &str) -> bool {
    (1..=59).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}
