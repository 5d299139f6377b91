//! A file system layer of SQLite's that lies in front of the machine's own and tells a [`Disk`] of
//! every change: the one place here that speaks C.
//!
//! It becomes the default of this process, so that the store is opened as ever; files outside of a
//! simulated disk pass through untouched. Reads, locks and shared memory always pass through.

#![expect(
    unsafe_code,
    reason = "SQLite's file system layer is a table of C functions; every pointer here is one that \
              SQLite hands over under the contract of sqlite3_vfs and sqlite3_io_methods"
)]

use super::disk::{Disk, Verdict};
use rusqlite::ffi;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::size_of;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Arc, Once};

/// The machine's own file system layer.
static REAL: AtomicPtr<ffi::sqlite3_vfs> = AtomicPtr::new(ptr::null_mut());

/// Puts the layer in front of the machine's own, once for the process.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: finding and registering need no more than an initialized library, which finding
        // sees to. The copy of the default layer lives as long as the process.
        unsafe {
            let real = ffi::sqlite3_vfs_find(ptr::null());
            REAL.store(real, Ordering::SeqCst);
            let shim = Box::leak(Box::new(*real));
            shim.zName = c"skep-power".as_ptr();
            shim.szOsFile += FILE_BYTES;
            shim.pNext = ptr::null_mut();
            shim.xOpen = Some(open);
            shim.xDelete = Some(delete);
            ffi::sqlite3_vfs_register(shim, 1);
        }
    });
}

/// What SQLite takes for an open file; the real one's bytes follow it.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    /// Owned; null where the file lies on no simulated disk.
    place: *mut Place,
}

/// Where a file lies.
struct Place {
    disk: Arc<Disk>,
    path: PathBuf,
    /// Whether the next sync also syncs the folder, as the machine's own layer does it with the
    /// first sync of a journal or a log.
    syncs_folder: AtomicBool,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.disk.closes();
    }
}

/// The kinds of file whose first sync makes their name durable too.
const JOURNALS: c_int =
    ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL;

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "two pointers"
)]
const FILE_BYTES: c_int = size_of::<File>() as c_int;

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // Without memory-mapped reads, which the store does not use.
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// The real file behind ours.
unsafe fn real(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: `szOsFile` leaves room for ours and the real one behind it.
    unsafe { file.cast::<File>().add(1).cast() }
}

/// Calls a method of the real file; a missing one is an error of SQLite's own.
macro_rules! pass {
    ($file:expr, $method:ident $(, $argument:expr)*) => {{
        // SAFETY: the real file was opened by the real layer, and the arguments are SQLite's.
        unsafe {
            let file = real($file);
            match (*(*file).pMethods).$method {
                Some(method) => method(file $(, $argument)*),
                None => ffi::SQLITE_IOERR,
            }
        }
    }};
}

/// Where the file lies, if on a simulated disk.
unsafe fn place<'f>(file: *mut ffi::sqlite3_file) -> Option<&'f Place> {
    // SAFETY: every file with these methods was opened by `open` below.
    unsafe { (*file.cast::<File>()).place.as_ref() }
}

unsafe fn path(name: *const c_char) -> PathBuf {
    // SAFETY: SQLite's names end with a zero.
    let bytes = unsafe { CStr::from_ptr(name) }.to_bytes();
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: the memory is ours to fill; the name is null or ends with a zero.
    unsafe {
        let ours = file.cast::<File>();
        (*ours).base.pMethods = ptr::null();
        (*ours).place = ptr::null_mut();
        let found = (!name.is_null())
            .then(|| path(name))
            .and_then(|path| Some((Disk::of(&path)?, path)));
        if let Some((disk, path)) = &found
            && let Verdict::Fails(code) = disk.opens(path)
        {
            return code;
        }
        let layer = REAL.load(Ordering::SeqCst);
        let Some(open) = (*layer).xOpen else {
            return ffi::SQLITE_CANTOPEN;
        };
        let code = open(layer, name, real(file), flags, out_flags);
        if (*real(file)).pMethods.is_null() {
            return code;
        }
        (*ours).base.pMethods = &raw const METHODS;
        if let Some((disk, path)) = found {
            disk.opened();
            let made = flags & ffi::SQLITE_OPEN_CREATE != 0 && flags & JOURNALS != 0;
            (*ours).place = Box::into_raw(Box::new(Place {
                disk,
                path,
                syncs_folder: AtomicBool::new(made),
            }));
        }
        code
    }
}

unsafe extern "C" fn delete(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    sync_folder: c_int,
) -> c_int {
    // SAFETY: the name ends with a zero.
    unsafe {
        let path = path(name);
        if let Some(disk) = Disk::of(&path)
            && let Verdict::Fails(code) = disk.deletes(&path, sync_folder != 0)
        {
            return code;
        }
        let layer = REAL.load(Ordering::SeqCst);
        (*layer)
            .xDelete
            .map_or(ffi::SQLITE_IOERR, |delete| delete(layer, name, sync_folder))
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let code = pass!(file, xClose);
    // SAFETY: opened by `open`, closed once.
    unsafe {
        let ours = file.cast::<File>();
        if !(*ours).place.is_null() {
            drop(Box::from_raw((*ours).place));
            (*ours).place = ptr::null_mut();
        }
    }
    code
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    count: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite hands over `count` bytes.
    unsafe {
        if let Some(place) = place(file) {
            let length = usize::try_from(count).unwrap_or(0);
            let written = std::slice::from_raw_parts(bytes.cast::<u8>(), length);
            let at = usize::try_from(at).unwrap_or(0);
            if let Verdict::Fails(code) = place.disk.writes(&place.path, at, written) {
                return code;
            }
        }
    }
    pass!(file, xWrite, bytes, count, at)
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: an open file.
    if let Some(place) = unsafe { place(file) } {
        let size = usize::try_from(size).unwrap_or(0);
        if let Verdict::Fails(code) = place.disk.truncates(&place.path, size) {
            return code;
        }
    }
    pass!(file, xTruncate, size)
}

/// What lies on a simulated disk is not synced for real: only its own account counts.
unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: an open file.
    match unsafe { place(file) } {
        Some(place) => {
            let folder = place.syncs_folder.load(Ordering::SeqCst);
            match place.disk.syncs(&place.path, folder) {
                Verdict::Passes => {
                    place.syncs_folder.store(false, Ordering::SeqCst);
                    ffi::SQLITE_OK
                }
                Verdict::Fails(code) => code,
            }
        }
        None => pass!(file, xSync, flags),
    }
}

macro_rules! pass_through {
    ($($name:ident = $method:ident ($($argument:ident: $type:ty),*);)+) => { $(
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $argument: $type)*) -> c_int {
            pass!(file, $method $(, $argument)*)
        }
    )+ };
}

pass_through! {
    read = xRead(bytes: *mut c_void, count: c_int, at: ffi::sqlite3_int64);
    file_size = xFileSize(size: *mut ffi::sqlite3_int64);
    lock = xLock(level: c_int);
    unlock = xUnlock(level: c_int);
    check_reserved_lock = xCheckReservedLock(out: *mut c_int);
    file_control = xFileControl(operation: c_int, argument: *mut c_void);
    sector_size = xSectorSize();
    device_characteristics = xDeviceCharacteristics();
    shm_map = xShmMap(page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void);
    shm_lock = xShmLock(offset: c_int, count: c_int, flags: c_int);
    shm_unmap = xShmUnmap(delete: c_int);
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: as in `pass`.
    unsafe {
        let file = real(file);
        if let Some(barrier) = (*(*file).pMethods).xShmBarrier {
            barrier(file);
        }
    }
}
