//! The list of processors that the shards are pinned to, as a person writes it: `0,2-3`.
//!
//! It owns the notation. It must not know which processors the machine has.

use std::fmt;
use std::str::FromStr;

/// Most shards one server may have; a shard number travels in 16 bits.
pub const SHARDS_MAX: usize = 1024;

/// Processors to pin shards to, one shard each, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreList(Vec<usize>);

/// What is wrong with a list of processors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoreListError {
    /// Nothing between two commas, or an empty list.
    Empty,
    /// Not a number or a range of numbers.
    NotANumber(String),
    /// A range whose end is before its start.
    Backwards(usize, usize),
    /// A processor named twice: two shards would fight for it.
    Twice(usize),
    /// More than [`SHARDS_MAX`] processors.
    TooMany,
}

impl fmt::Display for CoreListError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CoreListError::Empty => write!(formatter, "empty entry")?,
            CoreListError::NotANumber(text) => write!(formatter, "`{text}` is not a number")?,
            CoreListError::Backwards(first, last) => {
                write!(formatter, "the range {first}-{last} runs backwards")?;
            }
            CoreListError::Twice(processor) => {
                write!(formatter, "processor {processor} is named twice")?
            }
            CoreListError::TooMany => write!(formatter, "more than {SHARDS_MAX} processors")?,
        }
        write!(formatter, "; write numbers and ranges such as 0,2-3")
    }
}

impl std::error::Error for CoreListError {}

impl CoreList {
    /// A list of the processors given.
    ///
    /// # Errors
    /// An empty list, a processor named twice, too many of them.
    pub fn new(processors: Vec<usize>) -> Result<CoreList, CoreListError> {
        if processors.is_empty() {
            return Err(CoreListError::Empty);
        }
        if processors.len() > SHARDS_MAX {
            return Err(CoreListError::TooMany);
        }
        for (index, processor) in processors.iter().enumerate() {
            if processors[..index].contains(processor) {
                return Err(CoreListError::Twice(*processor));
            }
        }
        Ok(CoreList(processors))
    }

    /// The processors, in the order given.
    pub fn processors(&self) -> &[usize] {
        &self.0
    }
}

impl FromStr for CoreList {
    type Err = CoreListError;

    fn from_str(text: &str) -> Result<CoreList, CoreListError> {
        let number = |part: &str| {
            part.trim()
                .parse::<usize>()
                .map_err(|_| CoreListError::NotANumber(part.trim().to_owned()))
        };
        let mut processors = Vec::new();
        for entry in text.split(',') {
            let entry = entry.trim();
            if entry.is_empty() {
                return Err(CoreListError::Empty);
            }
            let (first, last) = match entry.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(entry)?, number(entry)?),
            };
            if last < first {
                return Err(CoreListError::Backwards(first, last));
            }
            if last - first >= SHARDS_MAX {
                return Err(CoreListError::TooMany);
            }
            processors.extend(first..=last);
        }
        CoreList::new(processors)
    }
}

impl fmt::Display for CoreList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, processor) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(formatter, "{separator}{processor}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ranges() {
        assert_eq!("0,2-3".parse::<CoreList>().unwrap().processors(), [0, 2, 3]);
        assert_eq!("7".parse::<CoreList>().unwrap().processors(), [7]);
        assert_eq!(" 1 , 0 ".parse::<CoreList>().unwrap().to_string(), "1,0");
    }

    #[test]
    fn what_is_refused() {
        let error = |text: &str| text.parse::<CoreList>().unwrap_err();
        assert_eq!(error(""), CoreListError::Empty);
        assert_eq!(error("0,,1"), CoreListError::Empty);
        assert_eq!(error("a"), CoreListError::NotANumber("a".to_owned()));
        assert_eq!(error("-1"), CoreListError::NotANumber(String::new()));
        assert_eq!(error("3-1"), CoreListError::Backwards(3, 1));
        assert_eq!(error("0-2,1"), CoreListError::Twice(1));
        assert_eq!(error("0-18446744073709551615"), CoreListError::TooMany);
        assert!(error("a").to_string().contains("0,2-3"));
    }
}
