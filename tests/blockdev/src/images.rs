//! Crash images of a device, and a device that fails.

use crate::Result;
use crate::device::{Device, NAME};
use crate::mounts::{Kind, Loop, Mount};
use crate::program::{OPS, Rng, check, ops, states};
use crate::writer::Writer;
use std::fs::{File, create_dir};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// How each group of records in a log file begins.
const GROUP: &[u8] = b"GRP1";

/// Where things are mounted, beneath a directory that goes in the end.
struct Places {
    root: tempfile::TempDir,
}

impl Places {
    fn new() -> Result<Self> {
        let places = Self { root: tempfile::tempdir()? };
        for name in ["fuse", "mounted"] {
            create_dir(places.at(name))?;
        }
        Ok(places)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn mounted(&self, device: &Path) -> Result<Mount> {
        Mount::of(device, &self.at("mounted"))
    }
}

/// What was known at a moment: so many events had reached the device.
struct Moment {
    events: usize,
    begun: usize,
    done: usize,
}

/// Writes a store on a device while noting the moments, then opens what `count` power cuts may leave of it.
pub(crate) fn crash(kind: Kind, count: u64, seed: u64) -> Result<()> {
    let places = Places::new()?;
    let device = Device::new(kind.mebibytes() << 20);
    let mut moments = Vec::new();
    let made = {
        let _shown = device.show(&places.at("fuse"))?;
        let lo = Loop::over(&places.at("fuse").join(NAME))?;
        kind.make(&lo.0)?;
        let _mount = places.mounted(&lo.0)?;
        let made = device.events();
        let mut writer = Writer::start(&places.at("mounted").join("store"), seed)?;
        let (mut begun, mut done) = (0, 0);
        loop {
            let line = writer.hear()?;
            match line.split_once(' ') {
                Some(("begin", n)) => begun = n.parse()?,
                Some(("done", n)) => done = n.parse()?,
                None if line == "open" => {}
                None if line == "end" => break,
                _ => return Err(format!("the writer says: {line}").into()),
            }
            moments.push(Moment { events: device.events(), begun, done });
            writer.go_on()?;
        }
        writer.kill()?;
        made
    };
    let last = moments.last().map_or(0, |moment| moment.events);
    println!("{kind:?}, seed {seed}: {} operations, {} events on the device", OPS, last - made);

    let states = states(&ops(seed));
    let (mut rng, began) = (Rng(seed ^ 0xC0FFEE), Instant::now());
    let image = places.at("image");
    let file = File::create(&image)?;
    let (mut wrong, mut behind) = (0, 0);
    for n in 0..count {
        let cut = made + 1 + rng.below((last - made) as u64) as usize;
        let here = rng.0;
        device.image(cut, &mut rng, &file)?;
        let known = moments.iter().rev().find(|moment| moment.events <= cut);
        let least = known.map_or(0, |moment| moment.done);
        // What had begun by the next moment may have been under way.
        let next = moments.iter().find(|moment| moment.events > cut);
        let most = next.or(known).map_or(0, |moment| moment.begun);
        let found = Loop::over(&image).and_then(|lo| {
            let mount = places.mounted(&lo.0)?;
            let found = check(&mount.0.join("store"), &states, least, most);
            drop(mount);
            found
        });
        match found {
            Ok(found) => behind += u64::from(found < most),
            Err(error) => {
                wrong += 1;
                println!("image {n}, after {cut} events, generator at {here}: {error}");
            }
        }
    }
    println!(
        "{kind:?}: {count} crash images mounted, opened and compared in {:.0?}, {behind} without what was under way, {wrong} wrong",
        began.elapsed()
    );
    if wrong > 0 { Err(format!("{wrong} of {count} images").into()) } else { Ok(()) }
}

/// Lets writes of the log fail beneath the file system, again and again.
pub(crate) fn fail(kind: Kind, count: u64, seed: u64) -> Result<()> {
    let places = Places::new()?;
    let device = Device::new(kind.mebibytes() << 20);
    let _shown = device.show(&places.at("fuse"))?;
    let lo = Loop::over(&places.at("fuse").join(NAME))?;
    let states = states(&ops(seed));
    let mut rng = Rng(seed ^ 0xFA11);
    for n in 0..count {
        kind.make(&lo.0)?;
        let at = 1 + rng.below(OPS as u64 - 60) as usize;
        let mut done = 0;
        let said = {
            let mount = places.mounted(&lo.0)?;
            let mut writer = Writer::start(&mount.0.join("store"), seed)?;
            let said = loop {
                let line = writer.hear()?;
                match line.split_once(' ') {
                    Some(("begin", n)) if n.parse::<usize>()? == at => drop(device.fail(Some(GROUP))),
                    Some(("done", n)) => done = n.parse()?,
                    Some(("failed", said)) => break said.to_owned(),
                    _ if line == "end" => return Err("no write failed".into()),
                    _ => {}
                }
                writer.go_on()?;
            };
            device.fail(None);
            writer.kill()?;
            said
        };
        if !said.contains("readable true") || !said.contains("writing stopped after") {
            return Err(format!("failure {n}: {said}").into());
        }
        // What the system kept of it is not to be believed: it is mounted anew.
        let mount = places.mounted(&lo.0)?;
        check(&mount.0.join("store"), &states, done, done + 1)?;
        println!("{kind:?}: failure {n} at operation {}, {done} acknowledged, all there: {said}", done + 1);
    }
    Ok(())
}
