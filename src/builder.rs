//! Opening and making collections.

use crate::codes::Codes;
use crate::collection::Collection;
use crate::error::{Error, Result};
use crate::key::Key;
use crate::op;
use crate::shared::Handle;
use lodestore_engine::{Element, Geometry, Index, Metric, MetricName};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// The longest name of a collection, in bytes.
pub const MAX_NAME: usize = 255;

const DEFAULT_M: usize = 16;
const DEFAULT_EF_CONSTRUCTION: usize = 128;
const DEFAULT_SEED: u64 = 100;

/// What a collection is to be: its settings, then [`open_or_create`](Self::open_or_create), [`create`](Self::create)
/// or [`open`](Self::open).
///
/// Settings are fixed when a collection is made. When one is opened, those that were given must be the stored ones,
/// and those that were not are taken as stored.
///
/// ```
/// use lodestore::Metric;
/// let store = lodestore::Store::in_memory()?;
/// let docs = store.collection::<u64>("docs").dim(4).metric(Metric::Cosine).m(8).ef_construction(100).create()?;
/// assert_eq!(store.collection::<u64>("docs").open()?.dim(), 4);
/// assert!(store.collection::<u64>("docs").dim(5).open().is_err());
/// # Ok::<(), lodestore::Error>(())
/// ```
pub struct CollectionBuilder<K: Key + ?Sized> {
    handle: Arc<Handle>,
    name: String,
    dim: Option<usize>,
    element: Option<Element>,
    metric: Option<Metric>,
    /// What cannot be a metric's name.
    no_metric: Option<String>,
    m: Option<usize>,
    ef_construction: Option<usize>,
    seed: Option<u64>,
    codes: Option<Codes>,
    keys: PhantomData<fn(&K)>,
}

impl<K: Key + ?Sized> Clone for CollectionBuilder<K> {
    fn clone(&self) -> Self {
        let (name, no_metric) = (self.name.clone(), self.no_metric.clone());
        Self { handle: self.handle.clone(), name, no_metric, ..*self }
    }
}

impl<K: Key + ?Sized> fmt::Debug for CollectionBuilder<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CollectionBuilder").field("name", &self.name).field("key", &K::TYPE).finish_non_exhaustive()
    }
}

impl<K: Key + ?Sized> CollectionBuilder<K> {
    pub(crate) fn new(handle: Arc<Handle>, name: &str) -> Self {
        Self {
            handle,
            name: name.to_owned(),
            dim: None,
            element: None,
            metric: None,
            no_metric: None,
            m: None,
            ef_construction: None,
            seed: None,
            codes: None,
            keys: PhantomData,
        }
    }

    /// Components of a vector, 1 to 65,536. Needed to make a collection.
    pub fn dim(mut self, dim: usize) -> Self {
        self.dim = Some(dim);
        self
    }

    /// What the components of vectors are kept as. Default: [`Element::F32`], or [`Element::Bits`] if the metric is
    /// [`Metric::Hamming`].
    ///
    /// ```
    /// use lodestore::Element;
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(3).element(Element::F16).create()?;
    /// docs.put(1, &[0.1, 0.2, 0.3], b"")?; // rounded
    /// assert_eq!(docs.get(1)?.unwrap().vector[0], 0.099975586);
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn element(mut self, element: Element) -> Self {
        self.element = Some(element);
        self
    }

    /// The metric. Default: [`Metric::L2`], or [`Metric::Hamming`] if the element is [`Element::Bits`]: these two go with
    /// each other only.
    pub fn metric(mut self, metric: Metric) -> Self {
        self.metric = Some(metric);
        self
    }

    /// The metric of the program's own that was [registered](crate::StoreOptions::metric) under that name, for any
    /// element. Such a collection has no [codes](Codes).
    pub fn user_metric(mut self, name: &str) -> Self {
        match MetricName::of(name) {
            Some(name) => self.metric = Some(Metric::User(name)),
            None => self.no_metric = Some(name.to_owned()),
        }
        self
    }

    /// HNSW's M, 2 to 512: links of a node on each level above 0, half as many as on level 0. Default: 16.
    pub fn m(mut self, m: usize) -> Self {
        self.m = Some(m);
        self
    }

    /// HNSW's ef_construction, 1 to 65,536: candidates kept while a node is inserted. Default: 128,
    /// which finds as much as 200 does in hnswlib.
    pub fn ef_construction(mut self, ef_construction: usize) -> Self {
        self.ef_construction = Some(ef_construction);
        self
    }

    /// What walks compare. Default: [`Codes::Auto`], which, when a collection is opened, is whatever it has.
    pub fn codes(mut self, codes: Codes) -> Self {
        self.codes = Some(codes);
        self
    }

    /// Seed of the nodes' levels and of the codes' rotation. Default: 100.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// For a graph of vectors of `dim` components: what was not set, as given here.
    pub(crate) fn or(mut self, dim: usize, m: usize, ef_construction: usize) -> Result<Self> {
        let set = *self.dim.get_or_insert(dim);
        if set != dim {
            let what = format!("its vectors have {dim} components, the collection is to have {set}");
            return Err(Error::Graph(what));
        }
        self.m.get_or_insert(m);
        self.ef_construction.get_or_insert(ef_construction);
        Ok(self)
    }

    /// Opens the collection, or makes it if it is not there.
    ///
    /// # Errors
    /// [`Error::SettingDiffers`], [`Error::Setting`].
    pub fn open_or_create(self) -> Result<Collection<K>> {
        let shared = self.handle.0.clone();
        shared.check_open()?;
        let _creating = shared.creating.lock();
        if shared.catalog.name(&self.name).is_some() { self.open() } else { self.make() }
    }

    /// Makes the collection.
    ///
    /// # Errors
    /// [`Error::CollectionExists`], [`Error::Setting`].
    pub fn create(self) -> Result<Collection<K>> {
        let shared = self.handle.0.clone();
        shared.check_open()?;
        let _creating = shared.creating.lock();
        if shared.catalog.name(&self.name).is_some() {
            return Err(Error::CollectionExists { name: self.name });
        }
        self.make()
    }

    /// Opens the collection.
    ///
    /// # Errors
    /// [`Error::NoCollection`], [`Error::SettingDiffers`].
    pub fn open(self) -> Result<Collection<K>> {
        self.check_metric()?;
        let open = self.handle.0.open_collection(&self.name)?;
        let stored = *open.index().geometry();
        self.same("keys of type", Some(K::TYPE), stored.key)?;
        self.same("dim", self.dim, stored.dim)?;
        self.same("element", self.element, stored.element)?;
        self.same("metric", self.metric, stored.metric)?;
        self.same("m", self.m, stored.m)?;
        self.same("ef_construction", self.ef_construction, stored.ef_construction)?;
        self.same("seed", self.seed, stored.seed)?;
        self.same("codes", self.codes.filter(|&codes| codes != Codes::Auto), Codes::of_bits(stored.codes))?;
        Ok(Collection::new(self.handle, open))
    }

    fn check_metric(&self) -> Result<()> {
        match &self.no_metric {
            Some(name) => Err(Error::Setting(format!("{name:?} cannot be the name of a user's metric"))),
            None => Ok(()),
        }
    }

    fn same<T: PartialEq + ToString>(&self, setting: &'static str, asked: Option<T>, stored: T) -> Result<()> {
        match asked {
            Some(asked) if asked != stored => Err(Error::SettingDiffers {
                collection: self.name.clone(),
                setting,
                stored: stored.to_string(),
                asked: asked.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// Files first, durable; then the record that names them.
    fn make(self) -> Result<Collection<K>> {
        self.check_metric()?;
        if self.name.is_empty() || self.name.len() > MAX_NAME || self.name.chars().any(char::is_control) {
            let what = "a collection's name has 1 to 255 bytes and no control characters";
            return Err(Error::Setting(format!("{what}; got {:?}", self.name)));
        }
        let missing = || Error::Setting(format!("collection '{}' does not exist; to make it, give its dim", self.name));
        let dim = self.dim.ok_or_else(missing)?;
        let hamming = self.metric == Some(Metric::Hamming);
        let element = self.element.unwrap_or(if hamming { Element::Bits } else { Element::F32 });
        let metric = self.metric.unwrap_or(if element == Element::Bits { Metric::Hamming } else { Metric::L2 });
        let geometry = Geometry {
            dim,
            element,
            metric,
            m: self.m.unwrap_or(DEFAULT_M),
            ef_construction: self.ef_construction.unwrap_or(DEFAULT_EF_CONSTRUCTION),
            seed: self.seed.unwrap_or(DEFAULT_SEED),
            codes: self.codes.unwrap_or_default().bits(dim, element, metric),
            key: K::TYPE,
        };
        geometry.check().map_err(Error::Setting)?;
        let shared = &self.handle.0;
        if let Metric::User(name) = metric
            && shared.options.metrics.get(name).is_none()
        {
            return Err(Error::UnknownMetric { file: self.name, metric: name.as_str().to_owned() });
        }
        // Whoever closes the store passes the gate, and the files may be another process's afterwards. And a checkpoint must
        // find the collection open if its record is among those it covers.
        let gate = shared.gate.read();
        shared.check_open()?;
        let log = shared.log()?;
        let id = shared.catalog.names().values().map(|entry| entry.id + 1).max().unwrap_or(0);
        Index::create(&*shared.disk, shared.uuid, id, &geometry)?;
        let lsn = log.sequence(1, op::create_len(&self.name), |log| {
            let lsn = op::append_create(log, id, &self.name);
            shared.catalog.stage_name(lsn, &self.name, id);
            lsn
        })?;
        self.handle.0.open_collection(&self.name).inspect_err(|error| shared.poison.set(error))?;
        drop(gate);
        shared.acknowledge(lsn)?;
        let open: Arc<_> = self.handle.0.open_collection(&self.name)?;
        Ok(Collection::new(self.handle, open))
    }
}
