//! Numbers with suffixes, read and written: counts, rates, sizes and durations.
//!
//! Owns the grammar that the command line and the reports share, so that what is printed can be
//! typed in again. Knows nothing of what the numbers are for.

/// Reads a count: `500`, `10k`, `1.5m`, `2g` (decimal suffixes, upper or lower case).
///
/// # Errors
/// One sentence that names what was wrong and shows an example.
pub fn parse_count(text: &str) -> Result<u64, String> {
    let (number, suffix) = split(text)?;
    let factor = match suffix.to_ascii_lowercase().as_str() {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        _ => {
            return Err(format!(
                "unknown suffix '{suffix}'; write for example 500, 10k or 1.5m"
            ));
        }
    };
    whole(number * factor, text)
}

/// Reads a rate in events per second: `200k`, `200k/s`, `0.5/s`.
///
/// # Errors
/// As [`parse_count`]; a rate of zero is refused.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    let (number, suffix) = split(text.trim_end_matches("/s"))?;
    let factor = match suffix.to_ascii_lowercase().as_str() {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        _ => {
            return Err(format!(
                "unknown suffix '{suffix}'; write for example 5000, 200k or 1m/s"
            ));
        }
    };
    let rate = number * factor;
    if rate > 0.0 && rate <= 1e9 {
        Ok(rate)
    } else {
        Err(format!(
            "'{text}' is not a rate between 0 and 1000m per second"
        ))
    }
}

/// Reads a size in bytes: `64`, `64B`, `16KiB`, `1MiB` (1024) or `16k`, `16kB`, `1MB` (1000).
///
/// # Errors
/// As [`parse_count`].
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (number, suffix) = split(text)?;
    let factor = match suffix.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "ki" | "kib" => 1024.0,
        "mi" | "mib" => 1024.0 * 1024.0,
        _ => {
            return Err(format!(
                "unknown suffix '{suffix}'; write for example 64, 16KiB or 1MB"
            ));
        }
    };
    whole(number * factor, text)
}

/// Reads a duration into nanoseconds: `500us`, `20ms`, `30s`, `5m`, `2h`; a bare number is seconds.
///
/// # Errors
/// As [`parse_count`].
pub fn parse_duration_ns(text: &str) -> Result<u64, String> {
    let (number, suffix) = split(text)?;
    let factor = match suffix {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "" | "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        _ => {
            return Err(format!(
                "unknown unit '{suffix}'; write for example 500us, 30s or 5m"
            ));
        }
    };
    let value = number * factor;
    // About 31 years: anything longer is a slip of the finger, and the clock arithmetic of a run
    // must stay far away from the end of u64.
    if value <= 1e18 {
        // In range by the test above, and never negative by `split`.
        Ok(value.round() as u64)
    } else {
        Err(format!("'{text}' is too long a time"))
    }
}

fn split(text: &str) -> Result<(f64, &str), String> {
    let text = text.trim();
    let end = text
        .find(|character: char| {
            !(character.is_ascii_digit() || character == '.' || character == '_')
        })
        .unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    let number = digits.replace('_', "");
    number
        .parse::<f64>()
        .map(|number| (number, suffix.trim()))
        .map_err(|_| format!("'{text}' does not start with a number"))
}

fn whole(value: f64, text: &str) -> Result<u64, String> {
    if value > 9e15 {
        return Err(format!("'{text}' is too large"));
    }
    if (value - value.round()).abs() > 1e-6 {
        return Err(format!("'{text}' is not a whole number"));
    }
    Ok(value.round() as u64)
}

/// A duration as a person reads it: `980ns`, `88us`, `1.23ms`, `2.5s`.
pub fn format_ns(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns}ns"),
        1_000..10_000 => format!("{:.1}us", ns as f64 / 1e3),
        10_000..1_000_000 => format!("{}us", (ns + 500) / 1_000),
        1_000_000..100_000_000 => format!("{:.2}ms", ns as f64 / 1e6),
        100_000_000..1_000_000_000 => format!("{}ms", (ns + 500_000) / 1_000_000),
        _ => format!("{:.2}s", ns as f64 / 1e9),
    }
}

/// A count with thousands separators: `5,999,940`.
pub fn format_count(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A size with a binary unit: `64 B`, `3.1 KiB`, `12.0 MiB`.
pub fn format_size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_rates() {
        assert_eq!(parse_count("10k"), Ok(10_000));
        assert_eq!(parse_count("1.5m"), Ok(1_500_000));
        assert_eq!(parse_count("1_000"), Ok(1_000));
        assert_eq!(parse_count("2G"), Ok(2_000_000_000));
        assert_eq!(parse_rate("200k/s"), Ok(200_000.0));
        assert_eq!(parse_rate("0.5"), Ok(0.5));
        for wrong in ["", "k", "10x", "1.0001", "-5", "1e400", "99999999999g"] {
            assert!(parse_count(wrong).is_err(), "{wrong:?} must be refused");
        }
        assert!(parse_rate("0").is_err());
    }

    #[test]
    fn sizes_tell_decimal_from_binary() {
        assert_eq!(parse_size("64"), Ok(64));
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size("64k"), Ok(64_000));
        assert_eq!(parse_size("1.5KiB"), Ok(1_536));
        assert_eq!(parse_size("2 MiB"), Ok(2_097_152));
        assert!(parse_size("64 KiBs").is_err());
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration_ns("500us"), Ok(500_000));
        assert_eq!(parse_duration_ns("1.5ms"), Ok(1_500_000));
        assert_eq!(parse_duration_ns("30"), Ok(30_000_000_000));
        assert_eq!(parse_duration_ns("2h"), Ok(7_200_000_000_000));
        assert!(parse_duration_ns("5 weeks").is_err());
        assert!(parse_duration_ns("999999999h").is_err());
    }

    #[test]
    fn written_as_a_person_reads() {
        assert_eq!(format_ns(980), "980ns");
        assert_eq!(format_ns(88_400), "88us");
        assert_eq!(format_ns(1_234_000), "1.23ms");
        assert_eq!(format_ns(301_200_000), "301ms");
        assert_eq!(format_count(5_999_940), "5,999,940");
        assert_eq!(format_count(940), "940");
        assert_eq!(format_size(3_174), "3.1 KiB");
    }
}
