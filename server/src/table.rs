//! A table indexed by slot number that grows in pages.
//!
//! It owns the memory of per-connection state: dense, so that an idle connection costs its size
//! and nothing else, and in pages, so that growing never moves or doubles what is there.
//! It must not know what it holds.

/// Bytes of a page: a size that allocators hand out without rounding up.
const PAGE_BYTES: usize = 64 << 10;

/// Entries by slot number.
#[derive(Debug)]
pub(crate) struct Table<T> {
    pages: Vec<Box<[Option<T>]>>,
}

impl<T> Table<T> {
    /// Entries of a page.
    const PAGE: usize = match PAGE_BYTES / size_of::<Option<T>>() {
        0 => 1,
        entries => entries,
    };

    pub(crate) fn new() -> Table<T> {
        Table { pages: Vec::new() }
    }

    /// Puts an entry at a slot and gives back what was there.
    pub(crate) fn insert(&mut self, slot: usize, entry: T) -> Option<T> {
        let page = slot / Self::PAGE;
        while self.pages.len() <= page {
            self.pages.push((0..Self::PAGE).map(|_| None).collect());
        }
        self.pages[page][slot % Self::PAGE].replace(entry)
    }

    pub(crate) fn remove(&mut self, slot: usize) -> Option<T> {
        self.pages.get_mut(slot / Self::PAGE)?[slot % Self::PAGE].take()
    }

    #[inline]
    pub(crate) fn get(&self, slot: usize) -> Option<&T> {
        self.pages.get(slot / Self::PAGE)?[slot % Self::PAGE].as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: usize) -> Option<&mut T> {
        self.pages.get_mut(slot / Self::PAGE)?[slot % Self::PAGE].as_mut()
    }

    /// Every entry there is; walks the whole table.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages
            .iter()
            .flat_map(|page| page.iter().filter_map(Option::as_ref))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_live_where_they_were_put() {
        let mut table = Table::new();
        assert_eq!(table.get(5000), None);
        assert_eq!(table.insert(0, 'a'), None);
        assert_eq!(table.insert(40_000, 'b'), None);
        assert_eq!(table.insert(40_000, 'c'), Some('b'));
        assert_eq!(table.pages.len(), 3);
        *table.get_mut(40_000).unwrap() = 'd';
        assert_eq!(table.iter().collect::<String>(), "ad");
        assert_eq!(table.remove(40_000), Some('d'));
        assert_eq!(table.remove(40_000), None);
        assert_eq!(table.remove(700_000), None);
    }
}
