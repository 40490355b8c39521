//! Per-connection state, found by slot number.
//!
//! Grows by whole pages that never move: a plain vector of 200,000 connections would copy tens of
//! megabytes at once in the middle of opening them.

use fanwire_reactor::Token;

const PAGE: usize = 512;

type Page<T> = Box<[Option<(Token, T)>]>;

/// A paged table of `T`, keyed by [`Token`].
#[derive(Debug)]
pub struct Table<T> {
    pages: Vec<Page<T>>,
    count: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table {
            pages: Vec::new(),
            count: 0,
        }
    }
}

impl<T> Table<T> {
    /// How many entries there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Puts an entry in, replacing one of the same slot.
    pub fn insert(&mut self, token: Token, value: T) {
        let (page, index) = (token.slot() / PAGE, token.slot() % PAGE);
        while self.pages.len() <= page {
            self.pages.push((0..PAGE).map(|_| None).collect());
        }
        if self.pages[page][index].replace((token, value)).is_none() {
            self.count += 1;
        }
    }

    /// The entry of a live token.
    #[inline]
    pub fn get_mut(&mut self, token: Token) -> Option<&mut T> {
        match self
            .pages
            .get_mut(token.slot() / PAGE)?
            .get_mut(token.slot() % PAGE)?
        {
            Some((owner, value)) if *owner == token => Some(value),
            _ => None,
        }
    }

    /// Takes an entry out.
    pub fn remove(&mut self, token: Token) -> Option<T> {
        let entry = self
            .pages
            .get_mut(token.slot() / PAGE)?
            .get_mut(token.slot() % PAGE)?;
        if entry.as_ref().is_none_or(|(owner, _)| *owner != token) {
            return None;
        }
        self.count -= 1;
        entry.take().map(|(_, value)| value)
    }

    /// All entries.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Token, &mut T)> {
        let entries = self.pages.iter_mut().flat_map(|page| page.iter_mut());
        entries.filter_map(|entry| entry.as_mut().map(|(token, value)| (*token, value)))
    }
}
