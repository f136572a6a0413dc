//! An open file of the simulated disk: its calls, where the power or the disk may fail.

use super::file::Node;
use super::{Shared, State, eio};
use crate::disk::DiskFile;
use crate::error::Result;
use crate::map::{Map, Mapping};
use std::sync::Arc;

/// An open file of a [`SimDisk`].
#[derive(Debug)]
pub(super) struct SimFile {
    pub(super) shared: Arc<Shared>,
    pub(super) path: String,
    pub(super) node: Arc<Node>,
}

impl DiskFile for SimFile {
    fn path(&self) -> &str {
        &self.path
    }

    fn len(&self) -> Result<u64> {
        self.shared.powered("stat", &self.path)?.call("stat", &self.path)?;
        self.node.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut state = self.shared.powered("read", &self.path)?;
        state.call("read", &self.path)?;
        state.reads += 1;
        if state.reads == state.fail_read_at {
            state.event("read", &self.path, "!eio");
            return Err(eio("read", &self.path));
        }
        self.node.read(offset, buf)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.shared.tell("write", &self.path);
        let mut state = self.shared.powered("write", &self.path)?;
        let mut at = 0;
        while {
            let piece = state.piece(bytes.len() - at);
            self.write_piece(&mut state, offset + at as u64, &bytes[at..at + piece])?;
            at += piece;
            at < bytes.len()
        } {}
        Ok(())
    }

    fn allocate(&self, len: u64) -> Result<()> {
        self.shared.tell("allocate", &self.path);
        let mut state = self.shared.state.lock();
        state.step("allocate", &self.path, &len.to_string())?;
        state.call("allocate", &self.path)?;
        let now = self.node.len()?;
        state.take_room(&self.path, now, len)?;
        self.node.set_len(len.max(now))
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.shared.tell("set_len", &self.path);
        let mut state = self.shared.state.lock();
        state.step("set_len", &self.path, &len.to_string())?;
        state.call("set length of", &self.path)?;
        let now = self.node.len()?;
        state.take_room(&self.path, now, len)?;
        state.give_room(now.saturating_sub(len));
        self.node.set_len(len)
    }

    fn sync(&self) -> Result<()> {
        self.shared.tell("sync", &self.path);
        let mut state = self.shared.state.lock();
        state.step("sync", &self.path, "")?;
        if state.call("sync", &self.path).is_err() || state.sync_fails() {
            self.node.sync_badly(&mut state.rng);
            return Err(eio("sync", &self.path));
        }
        self.node.sync();
        Ok(())
    }

    fn evict(&self) -> Result<()> {
        let _power = self.shared.powered("evict", &self.path)?;
        self.node.evict()
    }

    fn map(&self, offset: u64, len: usize, mapping: Mapping) -> Result<Map> {
        let _power = self.shared.powered("map", &self.path)?;
        self.node.map(offset, len, mapping)
    }
}

impl SimFile {
    /// What the system does in one go.
    fn write_piece(&self, state: &mut State, offset: u64, bytes: &[u8]) -> Result<()> {
        let (now, end) = (self.node.len()?, offset.saturating_add(bytes.len() as u64));
        if let Err(crash) = state.step("write", &self.path, &format!("{offset}+{}", bytes.len())) {
            self.node.write(offset, state.rng.prefix(bytes))?;
            return Err(crash);
        }
        state.writes += 1;
        if state.writes == state.no_space_at_write {
            return Err(state.full(&self.path, bytes.len() as u64));
        }
        let failed = state.call("write", &self.path);
        if failed.is_err() || state.writes == state.fail_write_at {
            if failed.is_ok() {
                state.note("!eio");
            }
            self.node.write(offset, state.rng.prefix(bytes))?;
            return Err(eio("write", &self.path));
        }
        let fits = state.room.saturating_add(now).saturating_sub(offset).min(bytes.len() as u64);
        state.take_room(&self.path, now, end).or_else(|full| {
            self.node.write(offset, &bytes[..fits as usize])?;
            state.room = state.room.saturating_sub(self.node.len()? - now);
            Err(full)
        })?;
        self.node.write(offset, bytes)
    }
}
