//! Records with tags.

use crate::collection::Collection;
use crate::components::Components;
use crate::error::Result;
use crate::key::{AsKey, Key, RowKey};
use crate::tags::Tags;
use crate::write::{Action, Change};

impl<K: Key + ?Sized> Collection<K> {
    /// As [`put`](Self::put), with tags, by which [searches](crate::Search::tagged) choose; at once, also across a crash. `put`
    /// itself leaves a record without.
    ///
    /// ```
    /// use lodestore::Tags;
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// let tags = Tags::new().with("lang", "en")?.with("year", 2024)?;
    /// docs.put_tagged(1, &[1.0, 2.0], b"one", &tags)?;
    /// assert_eq!(docs.get(1)?.unwrap().tags, tags);
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_tagged<'v>(
        &self,
        key: impl AsKey<K>,
        vector: impl Into<Components<'v>>,
        payload: &[u8],
        tags: &Tags,
    ) -> Result<()> {
        let (vector, shape) = (vector.into(), self.open.shape());
        vector.one_row(shape, 0)?;
        let vector = &*vector.stored(shape, 0)?;
        let (key, tags) = (self.row_key(key, 0)?, &tags.encode()[..]);
        let mut changes =
            vec![Change { target: &self.open, key: key.clone(), action: Action::Put { vector, payload } }];
        if !tags.is_empty() {
            changes.push(Change { target: &self.open, key, action: Action::SetTags { tags } });
        }
        self.shared().write(&changes).map(|_| ())
    }

    /// As [`put_many`](Self::put_many), with the tags of each row.
    ///
    /// ```
    /// use lodestore::{TagFilter, Tags};
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(1).open_or_create()?;
    /// let tags = [Tags::new().with("even", false)?, Tags::new().with("even", true)?];
    /// docs.put_many_tagged(&[1, 2], &[0.5, 1.5], None, &tags)?;
    /// assert_eq!(docs.search(&[0.0]).tagged(&TagFilter::eq("even", true)?).run()?[0].key, 2);
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`put_many`](Self::put_many).
    pub fn put_many_tagged<'v>(
        &self,
        keys: &[impl AsKey<K>],
        vectors: impl Into<Components<'v>>,
        payloads: Option<&[&[u8]]>,
        tags: &[Tags],
    ) -> Result<()> {
        self.put_many_tagged_while(keys, vectors, payloads, tags, |_| true).map(|_| ())
    }

    /// As [`put_many_while`](Self::put_many_while), with the tags of each row.
    ///
    /// # Errors
    /// As [`put_many`](Self::put_many).
    pub fn put_many_tagged_while<'v>(
        &self,
        keys: &[impl AsKey<K>],
        vectors: impl Into<Components<'v>>,
        payloads: Option<&[&[u8]]>,
        tags: &[Tags],
        go_on: impl FnMut(usize) -> bool,
    ) -> Result<usize> {
        self.put_rows(keys, vectors.into(), (payloads, Some(tags)), self.rows_between(), go_on)
    }

    /// Replaces the tags of a key's record, and leaves its vector, its payload and the graph as they are. Says whether there
    /// was such a record; not if it is [marked as deleted](Self::mark_deleted). As durable as a [`put`](Self::put). In the log
    /// it costs the tags, in the catalogue the payload is written anew beside them.
    ///
    /// ```
    /// use lodestore::Tags;
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// docs.put(1, &[1.0, 2.0], b"one")?;
    /// let tags = Tags::new().with("lang", "en")?;
    /// assert!(docs.set_tags(1, &tags)? && !docs.set_tags(2, &tags)?);
    /// assert_eq!(docs.tags(1)?, Some(tags));
    /// assert!(docs.set_tags(1, &Tags::new())?);
    /// assert!(docs.tags(1)?.unwrap().is_empty());
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`set_payload`](Self::set_payload).
    pub fn set_tags(&self, key: impl AsKey<K>, tags: &Tags) -> Result<bool> {
        let (key, tags) = (self.row_key(key, 0)?, &tags.encode()[..]);
        let change = Change { target: &self.open, key, action: Action::SetTags { tags } };
        Ok(self.shared().write(&[change])?[0])
    }

    /// The tags of a key's record, without its vector; `None` if there is none, or it is
    /// [marked as deleted](Self::mark_deleted).
    ///
    /// # Errors
    /// If the catalogue cannot be read.
    pub fn tags(&self, key: impl AsKey<K>) -> Result<Option<Tags>> {
        let found = self.look_up(&RowKey::of::<K>(self.open.id, &key), |_, row| row.read_tags())?;
        found.filter(|(_, marked)| !marked).map(|(tags, _)| tags).transpose()
    }
}
