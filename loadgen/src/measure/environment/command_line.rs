//! The command line as it may be shown to others: repeatable, without credentials.
//!
//! A report travels: it is mailed, committed and put on pages. What somebody typed behind `-H` to be
//! let in must not travel with it.

/// Stands for what was taken out.
const BLOT: &str = "***";

/// Parts of header field names whose values let somebody in.
const SECRET_WORDS: [&str; 7] = [
    "authorization",
    "cookie",
    "credential",
    "key",
    "password",
    "secret",
    "token",
];

/// The arguments with the values of header fields such as `Authorization` or `X-Api-Key` replaced
/// by three asterisks, and likewise user information and such parameters in URLs. Of the program
/// itself, which comes first, only the name is left: where it lies is nobody's business.
pub fn without_credentials(arguments: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut is_field = false;
    let mut is_first = true;
    let clean = |argument: String| {
        if std::mem::take(&mut is_first) {
            let name = argument.rsplit('/').next();
            return name.unwrap_or_default().to_owned();
        }
        if std::mem::take(&mut is_field) {
            return without_field_value(&argument);
        }
        if argument == "-H" || argument == "--header" {
            is_field = true;
            return argument;
        }
        for prefix in ["--header=", "-H"] {
            if let Some(field) = argument.strip_prefix(prefix)
                && !argument.starts_with("--header-")
            {
                return format!("{prefix}{}", without_field_value(field));
            }
        }
        url_without_credentials(&argument)
    };
    arguments.into_iter().map(clean).collect()
}

fn is_secret(name: &str) -> bool {
    let name = name.trim().to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

fn without_field_value(field: &str) -> String {
    match field.split_once(':') {
        Some((name, _)) if is_secret(name) => format!("{name}: {BLOT}"),
        _ => field.to_owned(),
    }
}

/// A URL, its user information and parameters such as `token` blotted out. What is no URL stays as
/// it is.
pub fn url_without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    let authority = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{BLOT}@{host}"),
        None => authority.to_owned(),
    };
    let path = match path.split_once('?') {
        Some((path, query)) => {
            let parameters: Vec<String> = query.split('&').map(without_parameter).collect();
            format!("{path}?{}", parameters.join("&"))
        }
        None => path.to_owned(),
    };
    format!("{scheme}://{authority}{path}")
}

fn without_parameter(parameter: &str) -> String {
    match parameter.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}={BLOT}"),
        _ => parameter.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(line: &[&str]) -> Vec<String> {
        without_credentials(line.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn what_lets_somebody_in_is_blotted_out() {
        assert_eq!(
            cleaned(&[
                "/home/somebody/bin/fanwire-loadgen",
                "echo",
                "ws://user:pass@host/path?token=abc&room=5",
                "-H",
                "Authorization: Bearer abc",
                "-HX-Api-Key: abc",
                "--header=Cookie: session=abc",
                "--header",
                "Accept-Language: de",
            ]),
            [
                "fanwire-loadgen",
                "echo",
                "ws://***@host/path?token=***&room=5",
                "-H",
                "Authorization: ***",
                "-HX-Api-Key: ***",
                "--header=Cookie: ***",
                "--header",
                "Accept-Language: de",
            ]
        );
    }

    #[test]
    fn everything_else_stays_as_it_was_typed() {
        let line = [
            "fanwire-loadgen",
            "fanout",
            "ws://127.0.0.1:9001/md?x=1#y",
            "-R",
            "1k",
            "--subscribe",
            "{\"op\":\"sub\"}",
            "-H",
        ];
        assert_eq!(cleaned(&line), line);
    }
}
