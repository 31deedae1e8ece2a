//! Opening: what is there, is it ours, and the claim of an epoch.

use std::path::Path;

use millpond_storage_api::{Epoch, LogPosition, OpenError, StoreError, Table};
use millpond_types::{FORMAT_VERSION, SystemKey, decode_u64, encode_u64};
use rocksdb::{DB, DEFAULT_COLUMN_FAMILY_NAME, Options, ReadOptions, ReadTier, WriteBatch};

use crate::error::{
    commit_error, corrupt, open_error, open_io_error, open_store_error, read_error,
};
use crate::options::{column_families, db_options};
use crate::read::{get_now, handle};
use crate::writer::synced;
use crate::{RocksBudget, checkpoint};

/// Whether a missing store is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Creates the store if it is missing.
    Create,
    /// The store must exist.
    OpenExisting,
}

/// A store that was opened for writing.
pub(crate) struct Opened {
    pub(crate) db: DB,
    pub(crate) epoch: Epoch,
    pub(crate) position: LogPosition,
}

/// Opens `path` for writing and claims it.
pub(crate) fn open(path: &Path, budget: &RocksBudget, mode: OpenMode) -> Result<Opened, OpenError> {
    let name = path.display().to_string();
    let found = inspect(path, &name)?;
    if mode == OpenMode::OpenExisting && found != Found::Store {
        return Err(OpenError::NotFound { path: name });
    }
    let create = mode == OpenMode::Create;
    let db = DB::open_cf_descriptors(&db_options(budget, create), path, column_families(budget))
        .map_err(|error| open_error(&name, &error))?;
    if create {
        sync_parent(path).map_err(|error| open_io_error(&name, &error))?;
    }
    match format_version(&db, &name)? {
        None if !create => return Err(OpenError::NotFound { path: name }),
        None if !is_empty(&db).map_err(|error| open_store_error(&name, &error))? => {
            return Err(no_format(name));
        }
        _ => {}
    }
    checkpoint::remove_stale(path);
    let (epoch, position) = claim(&db).map_err(|error| open_store_error(&name, &error))?;
    tracing::debug!(path = name, %epoch, %position, "store opened");
    Ok(Opened { db, epoch, position })
}

/// Opens `path` without changing anything there.
pub(crate) fn open_read_only(path: &Path, budget: &RocksBudget) -> Result<DB, OpenError> {
    let name = path.display().to_string();
    if inspect(path, &name)? != Found::Store {
        return Err(OpenError::NotFound { path: name });
    }
    let db = DB::open_cf_descriptors_read_only(
        &db_options(budget, false),
        path,
        column_families(budget),
        false,
    )
    .map_err(|error| open_error(&name, &error))?;
    match format_version(&db, &name)? {
        Some(_) => Ok(db),
        None => Err(no_format(name)),
    }
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Nothing, or what an interrupted creation leaves behind.
    Nothing,
    /// A database with our tables.
    Store,
}

/// Looks without touching, so that a directory that is not ours stays as it is.
fn inspect(path: &Path, name: &str) -> Result<Found, OpenError> {
    let unknown = |why: String| OpenError::UnknownFormat { path: name.to_owned(), why };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(open_io_error(name, &error)),
        Ok(metadata) if !metadata.is_dir() => return Err(unknown("it is not a directory".into())),
        Ok(_) => {}
    }
    if !path.join("CURRENT").exists() {
        return match first_foreign_file(path).map_err(|error| open_io_error(name, &error))? {
            None => Ok(Found::Nothing),
            Some(file) => Err(unknown(format!("it holds `{file}` but no database"))),
        };
    }
    let tables = DB::list_cf(&Options::default(), path).map_err(|error| {
        // CURRENT is there, so a file that it leads to and that is missing was lost.
        match open_error(name, &error) {
            OpenError::Io { path, why } if why.contains("No such file") => {
                OpenError::Corrupt { path, why }
            }
            error => error,
        }
    })?;
    let is_ours = |table: &String| Table::ALL.iter().any(|ours| ours.name() == table);
    if let Some(foreign) =
        tables.iter().find(|table| !is_ours(table) && *table != DEFAULT_COLUMN_FAMILY_NAME)
    {
        return Err(unknown(format!("it has a table `{foreign}`")));
    }
    if tables.iter().filter(|table| is_ours(table)).count() == Table::ALL.len() {
        return Ok(Found::Store);
    }
    // Creation adds the tables one by one and writes rows only after the last.
    let db = DB::open_cf_for_read_only(&Options::default(), path, &tables, false)
        .map_err(|error| open_error(name, &error))?;
    let empty = tables.iter().try_fold(true, |empty, table| Ok(empty && cf_is_empty(&db, table)?));
    match empty.map_err(|error| open_store_error(name, &error))? {
        true => Ok(Found::Nothing),
        false => {
            // An older format has fewer tables, and says so itself.
            if tables.iter().any(|table| table == Table::System.name()) {
                format_version(&db, name)?;
            }
            Err(unknown("it holds rows but not all of our tables".into()))
        }
    }
}

/// A file that an interrupted creation would not have left.
fn first_foreign_file(path: &Path) -> std::io::Result<Option<String>> {
    const CREATION: [&str; 5] = ["LOCK", "LOG", "IDENTITY", "MANIFEST-", "OPTIONS-"];
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let expected = CREATION.iter().any(|start| name.starts_with(start));
        if !expected && !name.ends_with(".dbtmp") {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// A new directory's name survives a power cut only when its parent was synced.
fn sync_parent(path: &Path) -> std::io::Result<()> {
    let path = path.canonicalize()?;
    match path.parent() {
        Some(parent) => std::fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn no_format(path: String) -> OpenError {
    OpenError::UnknownFormat { path, why: "it has rows but no format version".into() }
}

/// The stored format version, which this build can read.
fn format_version(db: &DB, name: &str) -> Result<Option<u64>, OpenError> {
    let found = system_number(db, SystemKey::FormatVersion)
        .map_err(|error| open_store_error(name, &error))?;
    let path = name.to_owned();
    match found {
        Some(found) if found > FORMAT_VERSION => {
            Err(OpenError::NewerFormat { path, found, supported: FORMAT_VERSION })
        }
        Some(0) => Err(OpenError::UnknownFormat { path, why: "its format version is 0".into() }),
        Some(found) if found < FORMAT_VERSION => {
            Err(OpenError::OlderFormat { path, found, supported: FORMAT_VERSION })
        }
        found => Ok(found),
    }
}

pub(crate) fn system_number(db: &DB, key: SystemKey) -> Result<Option<u64>, StoreError> {
    let Some(bytes) = get_now(db, Table::System, key.encode(), ReadTier::All)? else {
        return Ok(None);
    };
    decode_u64(&bytes).map(Some).map_err(corrupt)
}

fn is_empty(db: &DB) -> Result<bool, StoreError> {
    Table::ALL
        .iter()
        .map(|table| table.name())
        .chain([DEFAULT_COLUMN_FAMILY_NAME])
        .try_fold(true, |empty, table| Ok(empty && cf_is_empty(db, table)?))
}

fn cf_is_empty(db: &DB, table: &str) -> Result<bool, StoreError> {
    let cf = db.cf_handle(table).ok_or_else(|| corrupt(format_args!("no table {table}")))?;
    let mut options = ReadOptions::default();
    options.set_total_order_seek(true);
    let mut rows = db.raw_iterator_cf_opt(cf, options);
    rows.seek_to_first();
    rows.status().map_err(|error| read_error(&error))?;
    Ok(!rows.valid())
}

/// Claims the next epoch and empties the log of commits, durably and as a whole.
fn claim(db: &DB) -> Result<(Epoch, LogPosition), StoreError> {
    let epoch = system_number(db, SystemKey::Epoch)?.unwrap_or(0) + 1;
    // Durable, also where the process before was killed with unsynced writes: recovery has brought the log
    // into synced sorted files (`avoid_flush_during_recovery` is off).
    let position = system_number(db, SystemKey::LogPosition)?.unwrap_or(0);
    let system = handle(db, Table::System)?;
    let mut batch = WriteBatch::new();
    batch.put_cf(system, SystemKey::FormatVersion.encode(), encode_u64(FORMAT_VERSION));
    batch.put_cf(system, SystemKey::Epoch.encode(), encode_u64(epoch));
    if !cf_is_empty(db, Table::Log.name())? {
        // Longer than any key of the log, so above all of them.
        batch.delete_range_cf(handle(db, Table::Log)?, &[][..], &[0xFF; 9][..]);
    }
    db.write_opt(batch, &synced()).map_err(|error| commit_error(&error))?;
    Ok((Epoch(epoch), LogPosition(position)))
}
