//! Text formats: names, URLs, identifiers.

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

/// The format of namespace names (RFC 1123).
pub(crate) fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_dns_label_of_any_length(text)
}

fn is_dns_label_of_any_length(text: &str) -> bool {
    let is_alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.as_bytes().first().is_some_and(is_alphanumeric)
        && text.as_bytes().last().is_some_and(is_alphanumeric)
        && text.as_bytes().iter().all(|byte| is_alphanumeric(byte) || *byte == b'-')
}

/// The format of `ConfigMap` and service account names (RFC 1123 as in Kubernetes, without a length limit for each
/// label).
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

/// Digits only: the number parser would accept a sign.
fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port != 0)
}

/// Only the characters of an IPv6 address: the standard library's parser would noticeably enlarge the wasm.
fn is_ip6(text: &str) -> bool {
    text.bytes().filter(|b| *b == b':').count() >= 2
        && text.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'))
}

/// Valid text after `use-` in the name part of an annotation key, which has at most 63 characters.
pub(super) fn is_annotation_suffix(text: &str) -> bool {
    (1..=59).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}

/// The name of a resource that a container may request: a standard one, or one with a domain.
pub(super) fn is_resource_name(text: &str) -> bool {
    match text.split_once('/') {
        None => matches!(text, "cpu" | "memory" | "ephemeral-storage") || text.starts_with("hugepages-"),
        Some((domain, name)) => is_dns_subdomain(domain) && is_annotation_suffix(name),
    }
}

/// An amount of a resource that is not negative, such as `100m`, `64Mi`, `1.5` or `2e3`.
pub(super) fn is_quantity(text: &str) -> bool {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let Some((number, suffix)) = text.split_at_checked(end) else { return false };
    let is_exponent = |digits: &str| {
        let digits = digits.strip_prefix(['+', '-']).unwrap_or(digits);
        (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
    };
    number.contains(|c: char| c.is_ascii_digit())
        && number.bytes().filter(|b| *b == b'.').count() <= 1
        && (matches!(suffix, "" | "n" | "u" | "m" | "k" | "M" | "G" | "T" | "P" | "E")
            || matches!(suffix, "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei")
            || suffix.strip_prefix(['e', 'E']).is_some_and(is_exponent))
}

#[cfg(test)]
mod tests {
    use super::is_quantity;

    #[test]
    fn quantities_are_kubernetes() {
        for text in ["1", "+1", "100m", "0.5", ".5", "5.", "1e3", "1E-3", "1n", "64Mi", "1.5Ki", "2E"] {
            assert!(is_quantity(text), "{text}");
        }
        for text in ["", ".", "-1", "1.2.3", "1 Mi", "64MB", "1e", "1e999", "lots", "ä"] {
            assert!(!is_quantity(text), "{text}");
        }
    }
}
